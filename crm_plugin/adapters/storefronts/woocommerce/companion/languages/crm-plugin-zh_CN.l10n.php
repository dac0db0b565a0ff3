<?php
return array(
	'domain'   => 'crm-plugin',
	'language' => 'zh_CN',
	'messages' => array(
		'CRM'                          => 'CRM',
		'Address of your CRM'          => 'CRM 地址',
		'It begins with https://. Save, then connect.' => '以 https:// 开头。保存后即可连接。',
		'Consent'                      => '营销同意',
		'Ask at checkout whether customers want news by e-mail. The box is never ticked for them.' => '结账时询问顾客是否愿意接收邮件资讯，且绝不默认勾选。',
		'Words beside the box'         => '勾选框旁的文字',
		'Open the CRM'                 => '打开 CRM',
		'This store is connected.'     => '店铺已连接。',
		'Connect this store'           => '连接此店铺',
		'Sign in to your CRM there; WooCommerce then asks whether you agree.' => '请在那里登录 CRM，随后 WooCommerce 会询问您是否同意。',
		'Enter the address of your CRM first.' => '请先填写 CRM 地址。',
		'Send me news and offers by e-mail. I can stop this at any time.' => '通过邮件向我发送资讯和优惠，我可以随时退订。',
		'Birthday'                     => '生日',
		'Please enter your birthday as a date that lies behind us.' => '请填写一个过去的日期作为生日。',
		'Choose which e-mails you get' => '选择要接收的邮件',
	),
);
