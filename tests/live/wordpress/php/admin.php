<?php
/** WooCommerce > Settings with the tabs of other plugins, and the page on which a merchant lets an application in. */

defined( 'ABSPATH' ) || exit;

add_action(
	'admin_menu',
	static function () {
		add_menu_page( 'WooCommerce', 'WooCommerce', 'manage_options', 'wc-settings', 'stand_in_settings' );
	}
);

function stand_in_settings() {
	$tabs = apply_filters( 'woocommerce_settings_tabs_array', array() );
	$tab  = sanitize_key( $_GET['tab'] ?? '' );
	if ( isset( $_POST['save'] ) ) {
		check_admin_referer( 'woocommerce-settings' );
		do_action( 'woocommerce_update_options_' . $tab );
	}
	echo '<div class="wrap"><form method="post"><nav class="nav-tab-wrapper">';
	foreach ( $tabs as $name => $label ) {
		printf( '<a class="nav-tab %s" href="%s">%s</a>', $name === $tab ? 'nav-tab-active' : '', esc_url( admin_url( "admin.php?page=wc-settings&tab=$name" ) ), esc_html( $label ) );
	}
	echo '</nav>';
	do_action( 'woocommerce_settings_' . $tab );
	wp_nonce_field( 'woocommerce-settings' );
	echo '<p><button class="button-primary" name="save" value="1">Save changes</button></p></form></div>';
}

function woocommerce_admin_fields( $fields ) {
	echo '<table class="form-table">';
	foreach ( $fields as $field ) {
		if ( in_array( $field['type'], array( 'title', 'sectionend' ), true ) ) {
			continue;
		}
		$id    = esc_attr( $field['id'] );
		$value = get_option( $field['id'], $field['default'] );
		$hint  = esc_html( $field['desc'] ?? '' );
		$box   = 'checkbox' === $field['type'] ? sprintf( 'value="1" %s', checked( $value, 'yes', false ) ) : sprintf( 'value="%s" class="regular-text"', esc_attr( $value ) );
		printf( '<tr><th><label for="%1$s">%2$s</label></th><td><input id="%1$s" name="%1$s" type="%3$s" %4$s><p>%5$s</p></td></tr>', $id, esc_html( $field['title'] ), esc_attr( $field['type'] ), $box, $hint );
	}
	echo '</table>';
}

function woocommerce_update_options( $fields ) {
	foreach ( $fields as $field ) {
		if ( in_array( $field['type'], array( 'title', 'sectionend' ), true ) ) {
			continue;
		}
		$typed = wp_unslash( $_POST[ $field['id'] ] ?? '' );
		$value = 'checkbox' === $field['type'] ? ( $typed ? 'yes' : 'no' ) : sanitize_text_field( $typed );
		$value = apply_filters( 'woocommerce_admin_settings_sanitize_option_' . $field['id'], $value, $field, $typed );
		update_option( $field['id'], $value );
	}
}

// /wc-auth/v1/authorize: asks who runs the store, makes a key, posts it to the application, and sends the browser back.
add_action(
	'init',
	static function () {
		if ( '/wc-auth/v1/authorize' !== wp_parse_url( $_SERVER['REQUEST_URI'] ?? '', PHP_URL_PATH ) ) {
			return;
		}
		if ( ! current_user_can( 'manage_options' ) ) {
			auth_redirect();
		}
		if ( ! isset( $_POST['approve'] ) ) {
			printf( '<form method="post"><p>%s asks for reading and writing.</p>%s<button name="approve" value="1">Approve</button></form>', esc_html( $_GET['app_name'] ), wp_nonce_field( 'approve', '_wpnonce', true, false ) );
			exit;
		}
		check_admin_referer( 'approve' );
		$key = array( 'ck_' . wp_generate_password( 40, false ), 'cs_' . wp_generate_password( 40, false ) );
		update_option( 'stand_in_key', $key );
		$told   = array(
			'key_id'          => 1,
			'user_id'         => wp_unslash( $_GET['user_id'] ),
			'consumer_key'    => $key[0],
			'consumer_secret' => $key[1],
			'key_permissions' => 'read_write',
		);
		$answer = wp_safe_remote_post(
			wp_unslash( $_GET['callback_url'] ),
			array(
				'timeout' => 30,
				'headers' => array( 'Content-Type' => 'application/json' ),
				'body'    => wp_json_encode( $told ),
			)
		);
		if ( 200 !== wp_remote_retrieve_response_code( $answer ) ) {
			delete_option( 'stand_in_key' );
			wp_die( esc_html( is_wp_error( $answer ) ? $answer->get_error_message() : wp_remote_retrieve_response_code( $answer ) . wp_remote_retrieve_body( $answer ) ) );
		}
		// What WordPress calls safe is its own host alone.
		wp_redirect( add_query_arg( 'success', 1, wp_unslash( $_GET['return_url'] ) ) );
		exit;
	}
);
