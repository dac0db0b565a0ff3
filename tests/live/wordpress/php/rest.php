<?php
/** The lists of the REST API that our server reads: accounts are WordPress's own with their meta data, webhooks an option, all else is empty. */

defined( 'ABSPATH' ) || exit;

add_action(
	'rest_api_init',
	static function () {
		$ways = array(
			'GET system_status'    => static function () {
				return array(
					'environment' => array( 'version' => '0.1' ),
					'settings'    => array( 'currency' => 'EUR' ),
				);
			},
			'GET customers'        => 'stand_in_customers',
			'GET customers/(?P<id>\d+)' => static function ( $request ) {
				return stand_in_customer( get_userdata( (int) $request['id'] ) );
			},
			'POST customers/batch' => 'stand_in_write_customers',
			'GET webhooks'         => static function ( $request ) {
				return stand_in_page( $request, array_values( get_option( 'stand_in_webhooks', array() ) ) );
			},
			'POST webhooks/batch'  => 'stand_in_write_webhooks',
		);
		foreach ( array( 'orders', 'products', 'variations', 'refunds' ) as $empty ) {
			$ways[ "GET $empty" ] = static function ( $request ) {
				return stand_in_page( $request, array() );
			};
		}
		foreach ( $ways as $way => $answer ) {
			list( $method, $path ) = explode( ' ', $way );
			register_rest_route(
				'wc/v3',
				"/$path",
				array(
					'methods'             => $method,
					'callback'            => $answer,
					'permission_callback' => static function ( $request ) {
						$key = get_option( 'stand_in_key' );
						return $key && $key[0] === $request['oauth_consumer_key'];
					},
				)
			);
		}
	}
);

function stand_in_page( $request, array $rows ) {
	$answer = new WP_REST_Response( array_slice( $rows, (int) $request['offset'], (int) $request['per_page'] ) );
	$answer->header( 'X-WP-Total', (string) count( $rows ) );
	return $answer;
}

function stand_in_customer( $user ) {
	$meta = array();
	foreach ( get_user_meta( $user->ID ) as $key => $values ) {
		if ( '_' !== $key[0] ) {
			$meta[] = array(
				'key'   => $key,
				'value' => $values[0],
			);
		}
	}
	$at = gmdate( 'Y-m-d\TH:i:s', strtotime( $user->user_registered . ' UTC' ) );
	return array(
		'id'                => $user->ID,
		'email'             => $user->user_email,
		'date_created_gmt'  => $at,
		'date_modified_gmt' => $at,
		'meta_data'         => $meta,
	);
}

function stand_in_customers( $request ) {
	$order = 'desc' === $request['order'] ? 'DESC' : 'ASC';
	return stand_in_page( $request, array_map( 'stand_in_customer', get_users( array( 'orderby' => 'ID', 'order' => $order ) ) ) );
}

function stand_in_write_customers( $request ) {
	$done = array();
	foreach ( $request['update'] ?? array() as $one ) {
		foreach ( $one['meta_data'] as $entry ) {
			if ( null === $entry['value'] ) {
				delete_user_meta( $one['id'], $entry['key'] );
			} else {
				update_user_meta( $one['id'], $entry['key'], $entry['value'] );
			}
		}
		$done[] = stand_in_customer( get_userdata( $one['id'] ) );
	}
	return array( 'update' => $done );
}

function stand_in_write_webhooks( $request ) {
	$all  = array_diff_key( get_option( 'stand_in_webhooks', array() ), array_flip( $request['delete'] ?? array() ) );
	$made = array();
	foreach ( $request['create'] ?? array() as $one ) {
		$id         = ( $all ? max( array_keys( $all ) ) : 0 ) + 1;
		$all[ $id ] = array( 'id' => $id ) + $one;
		$made[]     = $all[ $id ];
	}
	update_option( 'stand_in_webhooks', $all );
	return array( 'create' => $made );
}
