<?php
/**
 * Plugin Name: CRM plugin for WooCommerce
 * Description: Connects the store with crm-plugin by a click: consent at checkout, birthdays, messages in My Account, members' levels for themes.
 * Version: 0.0.0
 * Author: crm-plugin
 * Requires at least: 6.5
 * Requires PHP: 7.4
 * Requires Plugins: woocommerce
 * WC requires at least: 8.9
 * WC tested up to: 11.0
 * License: Apache-2.0
 * License URI: https://www.apache.org/licenses/LICENSE-2.0
 * Text Domain: crm-plugin
 * Domain Path: /languages
 */

namespace CrmPlugin;

defined( 'ABSPATH' ) || exit;

foreach ( array( 'pure', 'link', 'settings', 'checkout', 'account', 'tiers', 'privacy' ) as $crm_plugin_part ) {
	require_once __DIR__ . '/includes/' . $crm_plugin_part . '.php';
}

add_action(
	'before_woocommerce_init',
	static function () {
		if ( class_exists( '\Automattic\WooCommerce\Utilities\FeaturesUtil' ) ) {
			foreach ( array( 'custom_order_tables', 'cart_checkout_blocks' ) as $feature ) {
				\Automattic\WooCommerce\Utilities\FeaturesUtil::declare_compatibility( $feature, __FILE__, true );
			}
		}
	}
);

// Before WooCommerce asks for the words of the block checkout's box.
add_action(
	'plugins_loaded',
	static function () {
		load_plugin_textdomain( 'crm-plugin', false, dirname( plugin_basename( __FILE__ ) ) . '/languages' );
	}
);
