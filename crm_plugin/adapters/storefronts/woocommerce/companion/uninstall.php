<?php
/**
 * Takes away what the plugin kept for itself; what customers said stays with their accounts and orders.
 */

defined( 'WP_UNINSTALL_PLUGIN' ) || exit;

foreach ( array( 'crm_plugin_server', 'crm_plugin_ask', 'crm_plugin_consent_label' ) as $crm_plugin_option ) {
	delete_option( $crm_plugin_option );
}
delete_transient( 'crm_plugin_hook' );
// What opens customers' messages is kept for each of them: their names are known to the table alone.
foreach ( array( '_transient_', '_transient_timeout_' ) as $crm_plugin_kind ) {
	global $wpdb;
	// phpcs:ignore WordPress.DB.DirectDatabaseQuery
	$wpdb->query( $wpdb->prepare( "DELETE FROM {$wpdb->options} WHERE option_name LIKE %s", $wpdb->esc_like( $crm_plugin_kind . 'crm_plugin_shopper_' ) . '%' ) );
}
