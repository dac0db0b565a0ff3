<?php
/** Prints the sentences that there are in Chinese. */

echo json_encode( array_keys( ( require $argv[1] . '/languages/crm-plugin-zh_CN.l10n.php' )['messages'] ) );
