"""What the experiments share: data, training of one row, resumable results, tables and plots."""
