//! Tests of dig_client.
