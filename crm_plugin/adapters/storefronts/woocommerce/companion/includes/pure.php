<?php
/**
 * What needs neither WordPress nor WooCommerce: values in, values out.
 */

namespace CrmPlugin;

/** Key of the statement of consent and of the birthday, among those that the CRM looks under. */
const CONSENT_META  = 'marketing_opt_in';
const BIRTHDAY_META = 'birthday';
const TIER_PREFIX   = 'crm_tier_';

/** A birthday as YYYY-MM-DD; an empty string for what is none, lies after $today (YYYY-MM-DD) or before 1900. */
function birthday( string $typed, string $today ): string {
	if ( ! preg_match( '/\A(\d{4})-(\d{2})-(\d{2})\z/', trim( $typed ), $part ) ) {
		return '';
	}
	if ( ! checkdate( (int) $part[2], (int) $part[3], (int) $part[1] ) || (int) $part[1] < 1900 || $part[0] > $today ) {
		return '';
	}
	return $part[0];
}

/** The https address of a server, without a slash at its end; an empty string for what is none. */
function server_address( string $typed ): string {
	$parts = parse_url( trim( $typed ) );
	if ( ! is_array( $parts ) || 'https' !== strtolower( $parts['scheme'] ?? '' ) || empty( $parts['host'] ) || isset( $parts['user'] ) ) {
		return '';
	}
	if ( isset( $parts['query'] ) || isset( $parts['fragment'] ) || ! preg_match( '/\A[A-Za-z0-9.-]+\z/', $parts['host'] ) ) {
		return '';
	}
	$port = isset( $parts['port'] ) ? ':' . $parts['port'] : '';
	return 'https://' . strtolower( $parts['host'] ) . $port . rtrim( $parts['path'] ?? '', '/' );
}

/**
 * The server and the shop's name there, out of the address that our webhooks call; null for another address.
 *
 * @return array{server: string, shop: string}|null
 */
function connection( string $delivery_url ): ?array {
	if ( ! preg_match( '~\A(https://.+)/hooks/([a-z0-9._-]{1,64})/woocommerce\z~', $delivery_url, $part ) ) {
		return null;
	}
	$server = server_address( $part[1] );
	return '' === $server ? null : array(
		'server' => $server,
		'shop'   => $part[2],
	);
}

/** Where the merchant connects this store by a click. */
function connect_url( string $server, string $store ): string {
	return $server . '/install/woocommerce?' . http_build_query( array( 'url' => $store ), '', '&', PHP_QUERY_RFC3986 );
}

/** Whether a box was ticked, in the forms in which forms and the block checkout say so. */
function is_ticked( $value ): bool {
	return true === $value || in_array( $value, array( 1, '1', 'yes', 'on', 'true' ), true );
}

/** Whether the box of that name is ticked in a form as browsers send it, `a=1&b=2`. */
function ticked_in( string $form, string $name ): bool {
	parse_str( $form, $told );
	return is_ticked( $told[ $name ] ?? null );
}

/** The body of the question for a customer's messages; $at is in seconds since 1970. */
function question( int $customer, int $at ): string {
	return (string) json_encode(
		array(
			'customer' => $customer,
			'at'       => $at,
		)
	);
}

/** What proves that the store asks: signed with the secret of our webhooks, for this purpose alone. */
function proof( string $body, string $secret ): string {
	return base64_encode( hash_hmac( 'sha256', "shopper\n" . $body, $secret, true ) );
}

/**
 * What the CRM answered, as far as it is to be believed; an empty array for anything else.
 *
 * @return array{token: string, script: string, preferences: string}|array{}
 */
function shopper_answer( string $body, string $server ): array {
	$told = json_decode( $body, true );
	if ( ! is_array( $told ) || ! is_string( $told['token'] ?? null ) || '' === $told['token'] ) {
		return array();
	}
	$preferences = is_string( $told['preferences'] ?? null ) ? $told['preferences'] : '';
	return array(
		'token'       => $told['token'],
		'script'      => $server . '/static/inapp.js',
		'preferences' => 0 === strpos( $preferences, $server . '/' ) ? $preferences : '',
	);
}

/**
 * Levels by programme, out of all meta data of an account as `get_user_meta( $id )` tells it.
 *
 * @return array<string, string>
 */
function tiers_of( array $meta ): array {
	$found = array();
	foreach ( $meta as $key => $values ) {
		$value = is_array( $values ) ? reset( $values ) : $values;
		if ( 0 === strpos( (string) $key, TIER_PREFIX ) && is_string( $value ) && '' !== $value ) {
			$found[ substr( (string) $key, strlen( TIER_PREFIX ) ) ] = $value;
		}
	}
	return $found;
}

/**
 * The capabilities that levels give: `crm_tier_gold` in any programme, `crm_tier_main_gold` in that one.
 *
 * @param array<string, string> $tiers Levels by programme.
 * @return array<string, bool>
 */
function tier_capabilities( array $tiers ): array {
	$found = array();
	foreach ( $tiers as $program => $level ) {
		$found[ TIER_PREFIX . $level ]                  = true;
		$found[ TIER_PREFIX . $program . '_' . $level ] = true;
	}
	return $found;
}
