//! Mutual TLS: tools that show a certificate to servers that want one.
