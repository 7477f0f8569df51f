//! Every test that needs more than one package, in one binary.

mod tidy;
