"""From a storefront's pages to rows: pull, upsert, identity, facts, problems."""
