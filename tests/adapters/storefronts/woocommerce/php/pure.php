<?php
/** Asserts over the pure functions; prints one proof, which Python checks. */

namespace CrmPlugin;

require $argv[1] . '/includes/pure.php';

function same( $is, $wanted, string $what ): void {
	if ( $is !== $wanted ) {
		fwrite( STDERR, $what . ': ' . var_export( $is, true ) . "\n" );
		exit( 1 );
	}
}

$today = '2026-06-01';
foreach ( array(
	'1984-02-29'  => '1984-02-29',
	' 1990-01-05 ' => '1990-01-05',
	'1985-02-29'  => '',
	'1899-12-31'  => '',
	'2026-06-02'  => '',
	'5.1.1990'    => '',
	"1990-01-05\n<" => '',
	''            => '',
) as $typed => $wanted ) {
	same( birthday( (string) $typed, $today ), $wanted, "birthday $typed" );
}
foreach ( array(
	'https://CRM.example/'       => 'https://crm.example',
	'https://crm.example:8443/a/' => 'https://crm.example:8443/a',
	'http://crm.example'         => '',
	'https://a:b@crm.example'    => '',
	'https://crm.example?x=1'    => '',
	'javascript:alert(1)'        => '',
	'https://'                   => '',
	''                           => '',
) as $typed => $wanted ) {
	same( server_address( $typed ), $wanted, "server $typed" );
}
same( connection( 'https://crm.example/hooks/my-shop/woocommerce' ), array( 'server' => 'https://crm.example', 'shop' => 'my-shop' ), 'connection' );
same( connection( 'https://erp.example/hooks/my-shop/other' ), null, 'foreign connection' );
same( connection( 'http://crm.example/hooks/my-shop/woocommerce' ), null, 'plain connection' );
same( connect_url( 'https://crm.example', 'https://shop.example/a b' ), 'https://crm.example/install/woocommerce?url=https%3A%2F%2Fshop.example%2Fa%20b', 'connect' );
foreach ( array( true, 1, '1', 'yes', 'on' ) as $ticked ) {
	same( is_ticked( $ticked ), true, 'ticked' );
}
foreach ( array( null, false, 0, '', '0', 'no', array( '1' ) ) as $empty ) {
	same( is_ticked( $empty ), false, 'empty' );
}
same( ticked_in( 'a=b&crm_marketing_opt_in=1&c%5B%5D=d', 'crm_marketing_opt_in' ), true, 'ticked in a form' );
foreach ( array( '', 'crm_marketing_opt_in=', 'crm_marketing_opt_in[]=1', 'x=crm_marketing_opt_in', '%%%' ) as $form ) {
	same( ticked_in( $form, 'crm_marketing_opt_in' ), false, 'not ticked in a form' );
}
same( shopper_answer( '{"token":"t","preferences":"https://crm.example/u/x"}', 'https://crm.example' ), array( 'token' => 't', 'script' => 'https://crm.example/static/inapp.js', 'preferences' => 'https://crm.example/u/x' ), 'answer' );
same( shopper_answer( '{"token":"t","preferences":"https://evil.example/"}', 'https://crm.example' )['preferences'], '', 'foreign preferences' );
foreach ( array( '', '[]', '7', '{"token":7}', '<html>' ) as $odd ) {
	same( shopper_answer( $odd, 'https://crm.example' ), array(), 'odd answer' );
}
$meta = array( 'nickname' => array( 'ada' ), 'crm_tier_main' => array( 'gold' ), 'crm_tier_old' => array( '' ) );
same( tiers_of( $meta ), array( 'main' => 'gold' ), 'tiers' );
same( tier_capabilities( array( 'main' => 'gold' ) ), array( 'crm_tier_gold' => true, 'crm_tier_main_gold' => true ), 'capabilities' );
$body = question( 7, 1780000000 );
echo json_encode( array( 'body' => $body, 'proof' => proof( $body, $argv[2] ) ) );
