<?php
/**
 * Members' levels for themes, out of the accounts' meta data that the CRM writes: a function, two shortcodes, and capabilities.
 */

namespace CrmPlugin {

	defined( 'ABSPATH' ) || exit;

	/** One member's level; an empty string for none. */
	function tier( int $user_id, string $program = 'main' ): string {
		$tiers = $user_id > 0 ? tiers_of( (array) get_user_meta( $user_id ) ) : array();
		return $tiers[ $program ] ?? '';
	}

	add_filter(
		'user_has_cap',
		static function ( array $all, array $asked, array $args, $user ): array {
			foreach ( $asked as $capability ) {
				if ( 0 === strpos( (string) $capability, TIER_PREFIX ) ) {
					return array_merge( $all, tier_capabilities( tiers_of( (array) get_user_meta( $user->ID ) ) ) );
				}
			}
			return $all;
		},
		10,
		4
	);

	add_shortcode(
		'crm_tier',
		static function ( $told ): string {
			$told = shortcode_atts( array( 'program' => 'main' ), $told, 'crm_tier' );
			return esc_html( tier( get_current_user_id(), $told['program'] ) );
		}
	);
	add_shortcode(
		'crm_if_tier',
		static function ( $told, $content = '' ): string {
			$told   = shortcode_atts(
				array(
					'program' => 'main',
					'level'   => '',
				),
				$told,
				'crm_if_tier'
			);
			$levels = array_filter( array_map( 'trim', explode( ',', $told['level'] ) ) );
			$own    = tier( get_current_user_id(), $told['program'] );
			return in_array( $own, $levels, true ) ? do_shortcode( (string) $content ) : '';
		}
	);
}

namespace {

	/** The level of a member for themes; of who is signed in where nobody is named. */
	function crm_plugin_tier( int $user_id = 0, string $program = 'main' ): string {
		return \CrmPlugin\tier( $user_id > 0 ? $user_id : get_current_user_id(), $program );
	}
}
