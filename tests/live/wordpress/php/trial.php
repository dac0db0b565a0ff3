<?php
/**
 * What the trial changes in WordPress: our server on this machine may be asked, with the certificate made for the trial; nobody else is, and no mail leaves.
 * Then what the trial asks.
 */

add_filter( 'pre_wp_mail', '__return_true' );
add_filter( 'http_request_host_is_external', '__return_true' );
add_filter(
	'http_allowed_safe_ports',
	static function ( $ports ) {
		return array_merge( $ports, array( (int) CRM_LIVE_PORT ) );
	}
);
add_filter(
	'http_request_args',
	static function ( $told ) {
		$told['sslcertificates'] = CRM_LIVE_CERTIFICATE;
		return $told;
	}
);
add_filter(
	'pre_http_request',
	static function ( $answer, $told, $url ) {
		$nothing = array(
			'headers'  => array(),
			'body'     => '',
			'cookies'  => array(),
			'response' => array(
				'code'    => 503,
				'message' => '',
			),
		);
		return 'localhost' === wp_parse_url( $url, PHP_URL_HOST ) ? $answer : $nothing;
	},
	10,
	3
);

/** All addresses at which plugins can be called beside pages: REST routes, admin-ajax.php, admin-post.php. */
function live_addresses() {
	$hooks = preg_grep( '/^(wp_ajax_|admin_post_)/', array_keys( $GLOBALS['wp_filter'] ) );
	return array_merge( array_keys( rest_get_server()->get_routes() ), array_values( $hooks ) );
}

/** Names of what our plugin keeps for itself. */
function live_options() {
	global $wpdb;
	return $wpdb->get_col( "SELECT option_name FROM {$wpdb->options} WHERE option_name LIKE '%crm\\_plugin%' ORDER BY 1" );
}

/** What our plugin and the CRM keep with an account. */
function live_entries( $id ) {
	$found = array();
	foreach ( get_user_meta( $id ) as $key => $values ) {
		if ( preg_match( '/^(birthday|marketing_opt_in|crm_tier_.*)$/', $key ) ) {
			$found[ $key ] = $values[0];
		}
	}
	return $found;
}

/** Whether somebody has these capabilities. */
function live_may( $told ) {
	return array_map( static fn( $name ) => user_can( $told['id'], $name ), $told['names'] );
}
