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

/** Whether the customer has ticked the box before: that part of the classic checkout is made anew whenever an address changes. */
function is_still_ticked(): bool {
	// WooCommerce has checked the nonce of `update_order_review` by then.
	// phpcs:ignore WordPress.Security.NonceVerification.Missing, WordPress.Security.ValidatedSanitizedInput.InputNotSanitized
	$form = isset( $_POST['post_data'] ) ? wp_unslash( $_POST['post_data'] ) : '';
	return is_string( $form ) && ticked_in( $form, CONSENT_FIELD );
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
				is_still_ticked() ? '1' : ''
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
					// What is asked beside the contact is kept with the account, and would come ticked the next time.
					'location' => 'order',
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
