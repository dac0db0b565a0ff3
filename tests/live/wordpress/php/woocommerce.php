<?php
/**
 * Plugin Name: WooCommerce
 * Description: A stand-in of the live trial: the few functions, hooks and pages of WooCommerce that our companion plugin uses. Not WooCommerce.
 * Version: 0.1
 */

defined( 'ABSPATH' ) || exit;

foreach ( array( 'admin', 'shop', 'rest' ) as $stand_in_part ) {
	require_once __DIR__ . '/' . $stand_in_part . '.php';
}

add_action(
	'init',
	static function () {
		do_action( 'before_woocommerce_init' );
		do_action( 'woocommerce_init' );
	},
	0
);

/** What is kept of meta data until it is saved, and the saved kinds: of an order in an option, of an account in WordPress. */
class Stand_In_Kept {
	public $meta = array();

	public function update_meta_data( $key, $value ) {
		$this->meta[ $key ] = $value;
	}
}

class WC_Webhook {
	private $told;

	public function __construct( array $told ) {
		$this->told = $told;
	}

	public function get_id() {
		return $this->told['id'];
	}

	public function get_status() {
		return $this->told['status'];
	}

	public function get_name() {
		return $this->told['name'];
	}

	public function get_delivery_url() {
		return $this->told['delivery_url'];
	}

	public function get_secret() {
		return $this->told['secret'];
	}
}

class WC_Data_Store {
	public static function load( $kind ) {
		return new self();
	}

	public function search_webhooks( $asked ) {
		return array_reverse( array_keys( get_option( 'stand_in_webhooks', array() ) ) );
	}
}

function wc_get_webhook( $id ) {
	$all = get_option( 'stand_in_webhooks', array() );
	return isset( $all[ $id ] ) ? new WC_Webhook( $all[ $id ] ) : null;
}
