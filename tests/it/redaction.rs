//! placeholder for the end-to-end tests of redaction
