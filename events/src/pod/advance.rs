//! What a pod does next by itself.
