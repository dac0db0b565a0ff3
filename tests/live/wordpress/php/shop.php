<?php
/** My Account and both checkouts, as far as their forms call other plugins: [stand_in_account], [stand_in_details], [stand_in_checkout]. */

defined( 'ABSPATH' ) || exit;

function woocommerce_form_field( $key, $told, $value = null ) {
	$is_box = 'checkbox' === $told['type'];
	$input  = sprintf( '<input type="%s" name="%s" id="%2$s" value="%s" %s>', esc_attr( $told['type'] ), esc_attr( $key ), esc_attr( $is_box ? '1' : $value ), $is_box ? checked( $value, 1, false ) : '' );
	printf( $is_box ? '<p><label>%2$s %1$s</label></p>' : '<p><label>%1$s %2$s</label></p>', $told['label'], $input );
}

function woocommerce_register_additional_checkout_field( $told ) {
	$GLOBALS['stand_in_fields'][ $told['id'] ] = $told;
}

function stand_in_shown( $name ) {
	ob_start();
	do_action( $name );
	return ob_get_clean();
}

function stand_in_form( $name, $hook ) {
	return sprintf( '<form method="post">%s%s<button name="%s" value="1">Save</button></form>', stand_in_shown( $hook ), wp_nonce_field( $name, '_wpnonce', true, false ), esc_attr( $name ) );
}

add_shortcode(
	'stand_in_account',
	static function () {
		return stand_in_shown( 'woocommerce_account_dashboard' );
	}
);
add_shortcode(
	'stand_in_details',
	static function () {
		return esc_html( $GLOBALS['stand_in_said'] ?? '' ) . stand_in_form( 'save_account_details', 'woocommerce_edit_account_form' );
	}
);
add_shortcode(
	'stand_in_checkout',
	static function () {
		return stand_in_form( 'place_order', 'woocommerce_review_order_before_submit' );
	}
);

add_action(
	'template_redirect',
	static function () {
		foreach ( array( 'save_account_details', 'place_order' ) as $name ) {
			if ( isset( $_POST[ $name ] ) && wp_verify_nonce( $_POST['_wpnonce'] ?? '', $name ) ) {
				"stand_in_$name"();
			}
		}
	}
);

function stand_in_save_account_details() {
	$user   = wp_get_current_user();
	$errors = new WP_Error();
	do_action_ref_array( 'woocommerce_save_account_details_errors', array( &$errors, &$user ) );
	if ( $errors->has_errors() ) {
		$GLOBALS['stand_in_said'] = $errors->get_error_message();
	} elseif ( $user->ID ) {
		do_action( 'woocommerce_save_account_details', $user->ID );
		$GLOBALS['stand_in_said'] = 'Saved.';
	}
}

function stand_in_place_order() {
	list( $order, $customer ) = array( new Stand_In_Kept(), new Stand_In_Kept() );
	do_action( 'woocommerce_checkout_create_order', $order, array() );
	do_action( 'woocommerce_checkout_update_customer', $customer, array() );
	stand_in_keep_order( $order );
	foreach ( $customer->meta as $key => $value ) {
		update_user_meta( get_current_user_id(), $key, $value );
	}
}

/** An order of the block checkout, whose box says this. */
function stand_in_place_block_order( $ticked ) {
	$order = new Stand_In_Kept();
	foreach ( array_keys( $GLOBALS['stand_in_fields'] ?? array() ) as $key ) {
		do_action( 'woocommerce_set_additional_field_value', $key, $ticked, 'other', $order );
	}
	stand_in_keep_order( $order );
}

function stand_in_keep_order( $order ) {
	update_option( 'stand_in_orders', array_merge( get_option( 'stand_in_orders', array() ), array( $order->meta ) ) );
}
