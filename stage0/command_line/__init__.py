"""What several commands of rkt share: flags, tables, how pods and apps are named."""
