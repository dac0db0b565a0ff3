<?php
/**
 * The tab in WooCommerce > Settings: connect by a click, open the CRM, the words of the consent box.
 */

namespace CrmPlugin;

defined( 'ABSPATH' ) || exit;

add_filter(
	'woocommerce_settings_tabs_array',
	static function ( array $tabs ): array {
		$tabs['crm_plugin'] = __( 'CRM', 'crm-plugin' );
		return $tabs;
	},
	50
);
add_action( 'woocommerce_settings_crm_plugin', __NAMESPACE__ . '\settings_page' );
add_action(
	'woocommerce_update_options_crm_plugin',
	static function () {
		woocommerce_update_options( settings() );
	}
);
add_filter(
	'woocommerce_admin_settings_sanitize_option_crm_plugin_server',
	static function ( $value ) {
		return server_address( (string) $value );
	}
);

// Else nothing in the list of plugins leads to the tab.
add_filter(
	'plugin_action_links_' . plugin_basename( dirname( __DIR__ ) . '/crm-plugin.php' ),
	static function ( array $links ): array {
		$link = sprintf( '<a href="%s">%s</a>', esc_url( admin_url( 'admin.php?page=wc-settings&tab=crm_plugin' ) ), esc_html__( 'Settings', 'crm-plugin' ) );
		return array( 'crm-plugin' => $link ) + $links;
	}
);

/** The fields of the tab. */
function settings(): array {
	return array(
		array(
			'type'  => 'title',
			'id'    => 'crm_plugin',
			'title' => __( 'CRM', 'crm-plugin' ),
		),
		array(
			'type'        => 'url',
			'id'          => 'crm_plugin_server',
			'title'       => __( 'Address of your CRM', 'crm-plugin' ),
			'desc'        => __( 'It begins with https://. Save, then connect.', 'crm-plugin' ),
			'placeholder' => 'https://crm.example',
			'default'     => '',
		),
		array(
			'type'    => 'checkbox',
			'id'      => 'crm_plugin_ask',
			'title'   => __( 'Consent', 'crm-plugin' ),
			'desc'    => __( 'Ask at checkout whether customers want news by e-mail. The box is never ticked for them.', 'crm-plugin' ),
			'default' => 'yes',
		),
		array(
			'type'    => 'text',
			'id'      => 'crm_plugin_consent_label',
			'title'   => __( 'Words beside the box', 'crm-plugin' ),
			'default' => '',
			'css'     => 'min-width: 400px;',
		),
		array(
			'type' => 'sectionend',
			'id'   => 'crm_plugin',
		),
	);
}

/** The tab: what to do next, then the fields. */
function settings_page(): void {
	$hook   = hook();
	$linked = $hook ? connection( $hook->get_delivery_url() ) : null;
	$server = server_address( (string) get_option( 'crm_plugin_server', '' ) );
	if ( $linked ) {
		$url   = $linked['server'] . '/s/' . rawurlencode( $linked['shop'] ) . '/today';
		$label = __( 'Open the CRM', 'crm-plugin' );
		$said  = __( 'This store is connected.', 'crm-plugin' );
	} elseif ( '' !== $server ) {
		$url   = connect_url( $server, home_url() );
		$label = __( 'Connect this store', 'crm-plugin' );
		$said  = __( 'Sign in to your CRM there; WooCommerce then asks whether you agree.', 'crm-plugin' );
	} else {
		$url   = '';
		$label = '';
		$said  = __( 'Enter the address of your CRM first.', 'crm-plugin' );
	}
	echo '<p>' . esc_html( $said ) . '</p>';
	if ( '' !== $url ) {
		printf( '<p><a class="button button-primary" target="_blank" rel="noopener" href="%s">%s</a></p>', esc_url( $url ), esc_html( $label ) );
	}
	woocommerce_admin_fields( settings() );
}
