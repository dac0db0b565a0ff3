"""`python -m crm_plugin` is `crm-plugin`."""

from crm_plugin.cli import main

main()
