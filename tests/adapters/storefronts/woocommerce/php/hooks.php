<?php
/** The plugin on made-up hooks of WordPress: what a checkout and My Account keep, what a page shows. Prints what happened. */

namespace {
	define( 'ABSPATH', __DIR__ );
	define( 'HOUR_IN_SECONDS', 3600 );
	define( 'DAY_IN_SECONDS', 86400 );
	define( 'MINUTE_IN_SECONDS', 60 );
	$hooks = $options = $kept = $meta = $asked = $shortcodes = array();

	class WC_Webhook {
		public function get_id() { return $GLOBALS['options']['hooks'][0]; }
		public function get_status() { return 'active'; }
		public function get_name() { return 'crm-plugin 0123456789ab'; }
		public function get_delivery_url() { return 'https://crm.example/hooks/my-shop/woocommerce'; }
		public function get_secret() { return 'hush'; }
	}
	class WC_Data_Store {
		public static function load( $kind ) { return new self(); }
		public function search_webhooks( $told ) { return $GLOBALS['options']['hooks'] ?? array(); }
	}
	class Kept {
		public $meta = array();
		public function update_meta_data( $key, $value ) { $this->meta[ $key ] = $value; }
	}
	class Errors {
		public $said = array();
		public function add( $code, $text ) { $this->said[] = $code; }
	}
	class Table {
		public $options = 'wp_options';
		public $said    = array();
		public function esc_like( $text ) { return addcslashes( $text, '_%\\' ); }
		public function prepare( $text, $value ) { return str_replace( '%s', "'$value'", $text ); }
		public function query( $text ) { $this->said[] = $text; }
	}
	function add_action( $name, $call, $priority = 10, $count = 1 ) { $GLOBALS['hooks'][ $name ][] = $call; }
	function add_filter( $name, $call, $priority = 10, $count = 1 ) { add_action( $name, $call ); }
	function run( $name, ...$told ) {
		$found = $told[0] ?? null;
		foreach ( $GLOBALS['hooks'][ $name ] ?? array() as $call ) { $found = $call( ...$told ); }
		return $found;
	}
	function add_shortcode( $name, $call ) { $GLOBALS['shortcodes'][ $name ] = $call; }
	function shortcode_atts( $pairs, $told, $name ) { return array_merge( $pairs, array_intersect_key( (array) $told, $pairs ) ); }
	function do_shortcode( $text ) { return $text; }
	function get_option( $name, $default = '' ) { return $GLOBALS['options'][ $name ] ?? $default; }
	function get_transient( $name ) { return $GLOBALS['kept'][ $name ] ?? false; }
	function set_transient( $name, $value, $seconds ) { $GLOBALS['kept'][ $name ] = $value; }
	function delete_transient( $name ) { unset( $GLOBALS['kept'][ $name ] ); }
	function delete_option( $name ) { unset( $GLOBALS['options'][ $name ] ); }
	function plugin_basename( $file ) { return basename( dirname( $file ) ) . '/' . basename( $file ); }
	function admin_url( $path ) { return "https://shop.example/wp-admin/$path"; }
	function wc_get_webhook( $id ) { return new WC_Webhook(); }
	function get_current_user_id() { return 7; }
	function get_user_meta( $id, $key = '', $one = false ) { return '' === $key ? $GLOBALS['meta'] : ( $GLOBALS['meta'][ $key ][0] ?? '' ); }
	function update_user_meta( $id, $key, $value ) { $GLOBALS['meta'][ $key ] = array( $value ); }
	function delete_user_meta( $id, $key ) { unset( $GLOBALS['meta'][ $key ] ); }
	function get_user_by( $by, $value ) { return 'ada@shop.example' === $value ? (object) array( 'ID' => 7 ) : false; }
	function current_time( $form ) { return '2026-06-01'; }
	function sanitize_text_field( $text ) { return strip_tags( $text ); }
	function wp_unslash( $text ) { return stripslashes( $text ); }
	function __( $text, $domain ) { return $text; }
	function esc_html( $text ) { return htmlspecialchars( $text ); }
	function esc_html__( $text, $domain ) { return esc_html( $text ); }
	function esc_url( $text ) { return htmlspecialchars( $text ); }
	function home_url() { return 'https://shop.example'; }
	function is_wp_error( $value ) { return false; }
	function wp_safe_remote_post( $url, $told ) { $GLOBALS['asked'][] = array( $url, $told['headers'], $told['body'] ); return '{"token":"t","preferences":"https://crm.example/u/x"}'; }
	function wp_remote_retrieve_response_code( $answer ) { return 200; }
	function wp_remote_retrieve_body( $answer ) { return $answer; }
	function wp_print_script_tag( $told ) { echo '<script src="' . $told['src'] . '" data-token="' . $told['data-token'] . '"></script>'; }
	function woocommerce_form_field( $name, $told, $value ) { echo "[$name=$value]"; }
	function woocommerce_admin_fields( $fields ) { echo '[' . count( $fields ) . ' fields]'; }
	function woocommerce_register_additional_checkout_field( $told ) { $GLOBALS['options']['block'] = $told; }

	function shown( $name, ...$told ) {
		ob_start();
		run( $name, ...$told );
		return ob_get_clean();
	}

	require $argv[1] . '/crm-plugin.php';
	$found = array();

	// Nothing is connected yet.
	$found['unconnected'] = shown( 'woocommerce_settings_crm_plugin' );
	$found['no inbox']    = shown( 'woocommerce_account_dashboard' );
	$options['crm_plugin_server'] = 'https://crm.example/';
	$found['to connect']  = shown( 'woocommerce_settings_crm_plugin' );

	// The CRM made its webhooks.
	$options['hooks']   = array( 3 );
	$found['connected'] = shown( 'woocommerce_settings_crm_plugin' );
	$found['inbox']     = shown( 'woocommerce_account_dashboard' );
	shown( 'woocommerce_account_dashboard' );
	// Another connection's answer is not taken for this one's.
	$options['hooks'] = array( 4 );
	shown( 'woocommerce_account_dashboard' );
	$found['asked'] = array_map( static function ( $one ) { return $one[0]; }, $asked );

	// Checkout: a ticked box is kept, an empty one is not.
	foreach ( array( 'ticked' => array( 'crm_marketing_opt_in' => '1' ), 'empty' => array() ) as $name => $_POST ) {
		$order = new Kept();
		run( 'woocommerce_checkout_create_order', $order );
		$found[ $name ] = $order->meta;
	}
	// It is shown anew when an address changes: what was ticked stays, and nothing else comes ticked.
	foreach ( array( 'still' => 'billing_city=X&crm_marketing_opt_in=1', 'not' => 'billing_city=X' ) as $name => $form ) {
		$_POST          = array( 'post_data' => $form );
		$found[ $name ] = shown( 'woocommerce_review_order_before_submit' );
	}
	$_POST = array();
	run( 'woocommerce_init' );
	$found['block field'] = array( $options['block']['id'], $options['block']['location'] );
	$order = new Kept();
	run( 'woocommerce_set_additional_field_value', 'crm-plugin/marketing-opt-in', true, 'other', $order );
	run( 'woocommerce_set_additional_field_value', 'another/field', true, 'other', $order );
	$found['block'] = $order->meta;

	// My Account: a birthday that is none is refused, an emptied one taken away.
	foreach ( array( '1984-02-29', '1985-02-29', '' ) as $typed ) {
		$_POST  = array( 'crm_birthday' => $typed );
		$errors = new Errors();
		run( 'woocommerce_save_account_details_errors', $errors );
		if ( ! $errors->said ) {
			run( 'woocommerce_save_account_details', 7 );
		}
		$found['birthdays'][] = array( $errors->said, $meta['birthday'][0] ?? null );
	}

	// Levels.
	$meta['crm_tier_main'] = array( 'gold' );
	$user = (object) array( 'ID' => 7 );
	$found['may']    = array_keys( run( 'user_has_cap', array( 'read' => true ), array( 'crm_tier_gold' ), array(), $user ) );
	$found['others'] = array_keys( run( 'user_has_cap', array( 'read' => true ), array( 'manage_options' ), array(), $user ) );
	$found['tier']   = $shortcodes['crm_tier']( array() );
	$found['if']     = array( $shortcodes['crm_if_tier']( array( 'level' => 'silver, gold' ), 'in' ), $shortcodes['crm_if_tier']( array( 'level' => '' ), 'in' ) );
	$found['function'] = crm_plugin_tier();

	// A person's data: handed out and taken away.
	$meta['birthday'] = array( '1984-02-29' );
	$ways = array();
	foreach ( array( 'exporters', 'erasers' ) as $way ) {
		$ways[ $way ] = run( "wp_privacy_personal_data_$way", array() )['crm-plugin']['callback'];
	}
	$found['exported'] = array_column( $ways['exporters']( 'ada@shop.example' )['data'][0]['data'], 'value', 'name' );
	$found['answers']  = count( preg_grep( '/^crm_plugin_shopper_/', array_keys( $kept ) ) );
	$found['erased']   = array( $ways['erasers']( 'ada@shop.example' )['items_removed'], $meta );
	$found['nobody']   = array( $ways['exporters']( 'x@shop.example' )['data'], $ways['erasers']( 'x@shop.example' )['items_removed'] );
	$found['answers left'] = array_values( preg_grep( '/^crm_plugin_shopper_/', array_keys( $kept ) ) );
	$found['of orders']    = array(
		run( 'woocommerce_privacy_export_order_personal_data_meta', array() ),
		run( 'woocommerce_privacy_remove_order_personal_data_meta', array() ),
		run( 'woocommerce_privacy_remove_order_personal_data_meta_value', '[deleted]', 'marketing_opt_in' ),
		run( 'woocommerce_privacy_remove_order_personal_data_meta_value', '[deleted]', 'Payer first name' ),
	);
	$found['links'] = run( 'plugin_action_links_' . basename( $argv[1] ) . '/crm-plugin.php', array( 'deactivate' => '-' ) );

	// Taken away: what the plugin kept for itself, in the options and in the table behind them.
	$wpdb = new Table();
	define( 'WP_UNINSTALL_PLUGIN', 'crm-plugin/crm-plugin.php' );
	require $argv[1] . '/uninstall.php';
	$found['uninstalled'] = $wpdb->said;
	$found['options left'] = preg_grep( '/^crm_plugin_/', array_keys( $options ) );
	echo json_encode( $found );
}
