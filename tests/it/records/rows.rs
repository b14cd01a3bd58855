//! Every rule, row by row.
