<?php
/**
 * What the plugin keeps with an account and an order, for the export and erasure of a person's data (Tools) by WordPress and WooCommerce.
 * The CRM's part is asked for there.
 */

namespace CrmPlugin;

defined( 'ABSPATH' ) || exit;

/** The plugin's entries of an account: key => value. */
function kept_of( int $user_id ): array {
	$found = array();
	foreach ( array( BIRTHDAY_META, CONSENT_META ) as $key ) {
		$found[ $key ] = (string) get_user_meta( $user_id, $key, true );
	}
	foreach ( tiers_of( (array) get_user_meta( $user_id ) ) as $program => $level ) {
		$found[ TIER_PREFIX . $program ] = $level;
	}
	return array_filter( $found, 'strlen' );
}

/** What an entry is called where a person reads it. */
function entry_label( string $key ): string {
	$labels = array(
		BIRTHDAY_META => __( 'Birthday', 'crm-plugin' ),
		CONSENT_META  => __( 'Consent to news by e-mail', 'crm-plugin' ),
	);
	/* translators: %s: the programme's short name */
	return $labels[ $key ] ?? sprintf( __( 'Level (%s)', 'crm-plugin' ), substr( $key, strlen( TIER_PREFIX ) ) );
}

/** One person's entries, as WordPress wants to be told. */
function export_person( string $email ): array {
	$user = get_user_by( 'email', $email );
	$told = array();
	foreach ( $user ? kept_of( (int) $user->ID ) : array() as $key => $value ) {
		$told[] = array(
			'name'  => entry_label( $key ),
			'value' => $value,
		);
	}
	$item = array(
		'group_id'    => 'crm-plugin',
		'group_label' => __( 'CRM', 'crm-plugin' ),
		'item_id'     => 'crm-plugin-' . ( $user ? (int) $user->ID : 0 ),
		'data'        => $told,
	);
	return array(
		'data' => $told ? array( $item ) : array(),
		'done' => true,
	);
}

/** Takes one person's entries away, and says whether there were any. */
function erase_person( string $email ): array {
	$user = get_user_by( 'email', $email );
	$kept = $user ? kept_of( (int) $user->ID ) : array();
	foreach ( array_keys( $kept ) as $key ) {
		delete_user_meta( (int) $user->ID, $key );
	}
	if ( $user ) {
		forget_shopper( (int) $user->ID );
	}
	return array(
		'items_removed'  => (bool) $kept,
		'items_retained' => false,
		'messages'       => array(),
		'done'           => true,
	);
}

foreach ( array(
	'wp_privacy_personal_data_exporters' => array( 'exporter_friendly_name', 'export_person' ),
	'wp_privacy_personal_data_erasers'   => array( 'eraser_friendly_name', 'erase_person' ),
) as $crm_plugin_filter => $crm_plugin_way ) {
	add_filter(
		$crm_plugin_filter,
		static function ( array $all ) use ( $crm_plugin_way ): array {
			$all['crm-plugin'] = array(
				$crm_plugin_way[0] => __( 'CRM', 'crm-plugin' ),
				'callback'         => __NAMESPACE__ . '\\' . $crm_plugin_way[1],
			);
			return $all;
		}
	);
}

// WooCommerce hands out and erases an order's entries by itself, once it knows their names.
add_filter(
	'woocommerce_privacy_export_order_personal_data_meta',
	static function ( array $all ): array {
		return $all + array( CONSENT_META => entry_label( CONSENT_META ) );
	}
);
add_filter(
	'woocommerce_privacy_remove_order_personal_data_meta',
	static function ( array $all ): array {
		return $all + array( CONSENT_META => 'text' );
	}
);
add_filter(
	'woocommerce_privacy_remove_order_personal_data_meta_value',
	static function ( $left, $key ) {
		// Nothing in its place, which could be read as an answer.
		return CONSENT_META === $key ? '' : $left;
	},
	10,
	2
);
