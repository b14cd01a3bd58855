//! Rights of users on a real broker: granted and withdrawn by the harness, whose connection without a name may do everything.

use std::{ffi::CString, ptr};

use dig_ingest::rights::{Operation, Resource};
use rdkafka::{
    bindings::{
        rd_kafka_AclBinding_destroy, rd_kafka_AclBinding_new, rd_kafka_AclBinding_t,
        rd_kafka_AclBindingFilter_new, rd_kafka_AclOperation_t as Act,
        rd_kafka_AclPermissionType_t, rd_kafka_CreateAcls, rd_kafka_CreateAcls_result_acls,
        rd_kafka_DeleteAcls, rd_kafka_DeleteAcls_result_response_error,
        rd_kafka_DeleteAcls_result_response_matching_acls, rd_kafka_DeleteAcls_result_responses,
        rd_kafka_ResourcePatternType_t as Pattern, rd_kafka_ResourceType_t as Kind,
        rd_kafka_acl_result_error, rd_kafka_event_CreateAcls_result,
        rd_kafka_event_DeleteAcls_result, rd_kafka_event_destroy, rd_kafka_event_error,
        rd_kafka_event_t, rd_kafka_queue_destroy, rd_kafka_queue_new, rd_kafka_queue_poll,
        rd_kafka_queue_t,
    },
    types::RDKafkaRespErr,
};

use super::{broker::Broker, wait_until};

/// Properties of a broker that asks for rights. Only connections without a name need none: the harness and the broker itself.
const GUARDED: [&str; 2] = [
    "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users=User:ANONYMOUS",
];
/// The user of the secured listeners.
const USER: &str = "User:carrier";
/// How long the broker may take to answer, in milliseconds.
const ANSWER_MS: i32 = 20_000;

impl Broker {
    /// A broker of one's own that asks the named user for rights; by `sasl_plaintext` one is that user.
    pub fn guarded() -> Self {
        let flags = GUARDED.iter().flat_map(|property| ["--property", property]);
        let flags: Vec<&str> = ["--security", "sasl_plaintext"]
            .into_iter()
            .chain(flags)
            .collect();
        Self::launch(&flags)
    }

    /// Grants the user a right.
    pub fn grant(&self, operation: Operation, resource: Resource<'_>) {
        let right = Right::of(operation, resource);
        let admin = self.admin();
        // SAFETY: the client outlives the call; the texts outlive the binding; all that is made here is destroyed here, and results
        // belong to their event.
        unsafe {
            let mut binding = right.binding(rd_kafka_AclBinding_new);
            let queue = rd_kafka_queue_new(admin.inner().native_ptr());
            rd_kafka_CreateAcls(
                admin.inner().native_ptr(),
                &raw mut binding,
                1,
                ptr::null(),
                queue,
            );
            let event = answer(queue);
            let mut count = 0;
            let result = rd_kafka_event_CreateAcls_result(event);
            let all = rd_kafka_CreateAcls_result_acls(result, &raw mut count);
            assert!(count == 1 && rd_kafka_acl_result_error(*all).is_null());
            rd_kafka_event_destroy(event);
            rd_kafka_queue_destroy(queue);
            rd_kafka_AclBinding_destroy(binding);
        }
    }

    /// Withdraws a right that the user has.
    pub fn withdraw(&self, operation: Operation, resource: Resource<'_>) {
        let right = Right::of(operation, resource);
        // What was granted a moment ago may not have reached the broker yet.
        wait_until("the right is withdrawn", || self.withdrawn(&right) == 1);
    }

    fn withdrawn(&self, right: &Right) -> usize {
        let admin = self.admin();
        // SAFETY: as in `grant`.
        unsafe {
            let mut binding = right.binding(rd_kafka_AclBindingFilter_new);
            let queue = rd_kafka_queue_new(admin.inner().native_ptr());
            rd_kafka_DeleteAcls(
                admin.inner().native_ptr(),
                &raw mut binding,
                1,
                ptr::null(),
                queue,
            );
            let event = answer(queue);
            let (mut count, mut matching) = (0, 0);
            let result = rd_kafka_event_DeleteAcls_result(event);
            let all = rd_kafka_DeleteAcls_result_responses(result, &raw mut count);
            assert!(count == 1 && rd_kafka_DeleteAcls_result_response_error(*all).is_null());
            rd_kafka_DeleteAcls_result_response_matching_acls(*all, &raw mut matching);
            rd_kafka_event_destroy(event);
            rd_kafka_queue_destroy(queue);
            rd_kafka_AclBinding_destroy(binding);
            matching
        }
    }
}

/// A right as the client library has it.
struct Right {
    kind: Kind,
    name: CString,
    pattern: Pattern,
    operation: Act,
}

type New = unsafe extern "C" fn(
    Kind,
    *const std::ffi::c_char,
    Pattern,
    *const std::ffi::c_char,
    *const std::ffi::c_char,
    Act,
    rd_kafka_AclPermissionType_t,
    *mut std::ffi::c_char,
    usize,
) -> *mut rd_kafka_AclBinding_t;

impl Right {
    fn of(operation: Operation, resource: Resource<'_>) -> Self {
        let literal = Pattern::RD_KAFKA_RESOURCE_PATTERN_LITERAL;
        let prefixed = Pattern::RD_KAFKA_RESOURCE_PATTERN_PREFIXED;
        let (kind, name, pattern) = match resource {
            Resource::Topic(name) => (Kind::RD_KAFKA_RESOURCE_TOPIC, name, literal),
            Resource::Groups(name) => (Kind::RD_KAFKA_RESOURCE_GROUP, name, prefixed),
            Resource::TransactionalId(name) => {
                (Kind::RD_KAFKA_RESOURCE_TRANSACTIONAL_ID, name, literal)
            }
        };
        Self {
            kind,
            name: CString::new(name).expect("a name"),
            pattern,
            operation: match operation {
                Operation::Describe => Act::RD_KAFKA_ACL_OPERATION_DESCRIBE,
                Operation::Read => Act::RD_KAFKA_ACL_OPERATION_READ,
                Operation::Write => Act::RD_KAFKA_ACL_OPERATION_WRITE,
                Operation::Delete => Act::RD_KAFKA_ACL_OPERATION_DELETE,
            },
        }
    }

    /// # Safety
    /// `new` is one of the library's two makers of bindings.
    unsafe fn binding(&self, new: New) -> *mut rd_kafka_AclBinding_t {
        let (user, host) = (CString::new(USER).expect("a user"), c"*");
        let mut why = [0; 256];
        // SAFETY: the texts outlive the call, which copies them.
        let binding = unsafe {
            new(
                self.kind,
                self.name.as_ptr(),
                self.pattern,
                user.as_ptr(),
                host.as_ptr(),
                self.operation,
                rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
                why.as_mut_ptr(),
                why.len(),
            )
        };
        assert!(!binding.is_null(), "the library takes no such right");
        binding
    }
}

/// # Safety
/// `queue` is a live queue that gets one answer.
unsafe fn answer(queue: *mut rd_kafka_queue_t) -> *mut rd_kafka_event_t {
    // SAFETY: as promised by the caller.
    unsafe {
        let event = rd_kafka_queue_poll(queue, ANSWER_MS);
        assert!(!event.is_null(), "the broker answers about rights");
        assert_eq!(
            rd_kafka_event_error(event),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
        );
        event
    }
}
