//! Headers of a Kafka message, whatever their names are: the client library's safe binding panics on a name that is not UTF-8, and any
//! program may write one.
//!
//! Owns the calls into librdkafka that read them. Names that are no UTF-8 are left out: none of ours is such a name.

use std::ffi::CStr;
use std::ptr;

use rdkafka::bindings as ffi;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;

const DONE: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;

/// Names and values of a message's headers, in their order; headers without a value are left out.
pub fn of<'m>(message: &'m BorrowedMessage<'_>) -> impl Iterator<Item = (&'m str, &'m [u8])> {
    let mut headers = ptr::null_mut();
    // SAFETY: the message is alive for 'm, and its headers belong to it.
    let found = unsafe { ffi::rd_kafka_message_headers(message.ptr(), &raw mut headers) };
    let count = match found {
        // SAFETY: as above.
        DONE => unsafe { ffi::rd_kafka_header_cnt(headers) },
        _ => 0,
    };
    (0..count).filter_map(move |at| {
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the headers are alive for 'm; the client sets the three if it has a header there.
        let found = unsafe {
            ffi::rd_kafka_header_get_all(headers, at, &raw mut name, &raw mut value, &raw mut size)
        };
        if found != DONE || value.is_null() {
            return None;
        }
        // SAFETY: the client gives a C string and `size` bytes, which live as long as the message.
        let (name, value) = unsafe {
            let value = std::slice::from_raw_parts(value.cast::<u8>(), size);
            (CStr::from_ptr(name), value)
        };
        Some((name.to_str().ok()?, value))
    })
}
