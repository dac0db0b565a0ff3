<?php
/**
 * My Account: the birthday among the account's details, messages and the choice of messages on its first page.
 */

namespace CrmPlugin;

defined( 'ABSPATH' ) || exit;

const BIRTHDAY_FIELD = 'crm_birthday';

add_action(
	'woocommerce_edit_account_form',
	static function () {
		woocommerce_form_field(
			BIRTHDAY_FIELD,
			array(
				'type'         => 'date',
				'label'        => esc_html__( 'Birthday', 'crm-plugin' ),
				'autocomplete' => 'bday',
			),
			birthday( (string) get_user_meta( get_current_user_id(), BIRTHDAY_META, true ), current_time( 'Y-m-d' ) )
		);
	}
);

/** What was typed; null where the form did not ask. WooCommerce has checked the form's nonce by then. */
function typed_birthday(): ?string {
	// phpcs:ignore WordPress.Security.NonceVerification.Missing
	return isset( $_POST[ BIRTHDAY_FIELD ] ) ? trim( sanitize_text_field( wp_unslash( $_POST[ BIRTHDAY_FIELD ] ) ) ) : null;
}

add_action(
	'woocommerce_save_account_details_errors',
	static function ( $errors ) {
		$typed = typed_birthday();
		if ( null !== $typed && '' !== $typed && '' === birthday( $typed, current_time( 'Y-m-d' ) ) ) {
			$errors->add( BIRTHDAY_FIELD, __( 'Please enter your birthday as a date that lies behind us.', 'crm-plugin' ) );
		}
	}
);
add_action(
	'woocommerce_save_account_details',
	static function ( $user_id ) {
		$typed = typed_birthday();
		if ( '' === $typed ) {
			delete_user_meta( $user_id, BIRTHDAY_META );
		} elseif ( null !== $typed ) {
			update_user_meta( $user_id, BIRTHDAY_META, birthday( $typed, current_time( 'Y-m-d' ) ) );
		}
	}
);

add_action(
	'woocommerce_account_dashboard',
	static function () {
		$shopper = shopper( get_current_user_id() );
		if ( ! $shopper ) {
			return;
		}
		echo '<crm-inbox></crm-inbox>';
		wp_print_script_tag(
			array(
				'src'        => $shopper['script'],
				'data-token' => $shopper['token'],
				'async'      => true,
			)
		);
		if ( '' !== $shopper['preferences'] ) {
			printf( '<p><a href="%s">%s</a></p>', esc_url( $shopper['preferences'] ), esc_html__( 'Choose which e-mails you get', 'crm-plugin' ) );
		}
	}
);
