<?php
/**
 * The connection with the CRM. Nothing is typed in for it: the webhooks that the CRM made here tell its address, the shop's name, and a secret that both know.
 */

namespace CrmPlugin;

defined( 'ABSPATH' ) || exit;

const KEPT_HOOK    = 'crm_plugin_hook';
const KEPT_SHOPPER = 'crm_plugin_shopper_';

/** The newest active webhook of the CRM; null while there is none. */
function hook(): ?\WC_Webhook {
	$id    = get_transient( KEPT_HOOK );
	$found = $id ? wc_get_webhook( (int) $id ) : null;
	if ( $found && 'active' === $found->get_status() && connection( $found->get_delivery_url() ) ) {
		return $found;
	}
	$ids = \WC_Data_Store::load( 'webhook' )->search_webhooks(
		array(
			'limit'   => 50,
			'status'  => 'active',
			'search'  => 'crm-plugin',
			'orderby' => 'id',
			'order'   => 'DESC',
		)
	);
	foreach ( $ids as $id ) {
		$found = wc_get_webhook( (int) $id );
		if ( $found && 0 === strpos( $found->get_name(), 'crm-plugin ' ) && connection( $found->get_delivery_url() ) ) {
			set_transient( KEPT_HOOK, (int) $id, HOUR_IN_SECONDS );
			return $found;
		}
	}
	return null;
}

/**
 * What a customer's own page needs: the token of their messages, the script that shows them, and where they choose what they get.
 *
 * Kept for a day; a CRM that does not answer is left alone for five minutes, so that no page waits for it again and again.
 *
 * @return array{token: string, script: string, preferences: string}|array{}
 */
function shopper( int $customer ): array {
	$hook = $customer > 0 ? hook() : null;
	if ( null === $hook ) {
		return array();
	}
	// Of this connection: what another CRM answered opens nothing at this one.
	$name = kept_shopper( $hook, $customer );
	$kept = get_transient( $name );
	if ( is_array( $kept ) ) {
		return $kept;
	}
	$body   = question( $customer, time() );
	$answer = wp_safe_remote_post(
		$hook->get_delivery_url() . '/shopper',
		array(
			'timeout'             => 4,
			'redirection'         => 0,
			'limit_response_size' => 16384,
			'headers'             => array(
				'Content-Type' => 'application/json',
				'X-CRM-Proof'  => proof( $body, $hook->get_secret() ),
			),
			'body'                => $body,
		)
	);
	$found  = array();
	if ( ! is_wp_error( $answer ) && 200 === wp_remote_retrieve_response_code( $answer ) ) {
		$found = shopper_answer( wp_remote_retrieve_body( $answer ), connection( $hook->get_delivery_url() )['server'] );
	}
	set_transient( $name, $found, $found ? DAY_IN_SECONDS : 5 * MINUTE_IN_SECONDS );
	return $found;
}

/** Where the answer for a customer is kept. */
function kept_shopper( \WC_Webhook $hook, int $customer ): string {
	return KEPT_SHOPPER . $hook->get_id() . '_' . $customer;
}

/** Takes away what is kept of the answer for a customer. */
function forget_shopper( int $customer ): void {
	$hook = hook();
	if ( null !== $hook ) {
		delete_transient( kept_shopper( $hook, $customer ) );
	}
}
