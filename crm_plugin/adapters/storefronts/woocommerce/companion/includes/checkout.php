<?php
/**
 * Consent at checkout, classic and of blocks. Only a ticked box is kept: an empty one says nothing, and what was said before stands.
 */

namespace CrmPlugin;

defined( 'ABSPATH' ) || exit;

const CONSENT_FIELD = 'crm_marketing_opt_in';
const BLOCK_FIELD   = 'crm-plugin/marketing-opt-in';

/** Whether customers are asked. */
function asks(): bool {
	return 'no' !== get_option( 'crm_plugin_ask', 'yes' );
}

/** The words beside the box. */
function consent_label(): string {
	$own = trim( (string) get_option( 'crm_plugin_consent_label', '' ) );
	return '' !== $own ? $own : __( 'Send me news and offers by e-mail. I can stop this at any time.', 'crm-plugin' );
}

add_action(
	'woocommerce_review_order_before_submit',
	static function () {
		if ( asks() ) {
			woocommerce_form_field(
				CONSENT_FIELD,
				array(
					'type'  => 'checkbox',
					'label' => esc_html( consent_label() ),
				),
				''
			);
		}
	}
);

/** Writes the consent with the order, and with the account if there is one. WooCommerce has checked the checkout's nonce by then. */
function keep_consent( $kept ): void {
	// phpcs:ignore WordPress.Security.NonceVerification.Missing
	if ( asks() && is_ticked( $_POST[ CONSENT_FIELD ] ?? null ) ) {
		$kept->update_meta_data( CONSENT_META, 'yes' );
	}
}
add_action( 'woocommerce_checkout_create_order', __NAMESPACE__ . '\keep_consent' );
add_action( 'woocommerce_checkout_update_customer', __NAMESPACE__ . '\keep_consent' );

add_action(
	'woocommerce_init',
	static function () {
		if ( asks() && function_exists( 'woocommerce_register_additional_checkout_field' ) ) {
			woocommerce_register_additional_checkout_field(
				array(
					'id'       => BLOCK_FIELD,
					'label'    => consent_label(),
					'location' => 'contact',
					'type'     => 'checkbox',
				)
			);
		}
	}
);
add_action(
	'woocommerce_set_additional_field_value',
	static function ( $key, $value, $group, $kept ) {
		if ( BLOCK_FIELD === $key && is_ticked( $value ) ) {
			$kept->update_meta_data( CONSENT_META, 'yes' );
		}
	},
	10,
	4
);
