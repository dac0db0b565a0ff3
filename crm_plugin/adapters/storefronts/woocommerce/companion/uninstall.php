<?php
/**
 * Takes away what the plugin kept for itself; what customers said stays with their accounts and orders.
 */

defined( 'WP_UNINSTALL_PLUGIN' ) || exit;

foreach ( array( 'crm_plugin_server', 'crm_plugin_ask', 'crm_plugin_consent_label' ) as $crm_plugin_option ) {
	delete_option( $crm_plugin_option );
}
delete_transient( 'crm_plugin_hook' );
