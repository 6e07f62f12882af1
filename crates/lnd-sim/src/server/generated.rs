//! Services as tonic-build wrote them, over the client crate's messages.

#![expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::default_trait_access,
    clippy::doc_markdown,
    clippy::too_many_lines,
    unreachable_pub,
    reason = "tonic-build wrote it"
)]

include!(concat!(env!("OUT_DIR"), "/lnrpc.State.rs"));
include!(concat!(env!("OUT_DIR"), "/lnrpc.Lightning.rs"));
include!(concat!(env!("OUT_DIR"), "/invoicesrpc.Invoices.rs"));
include!(concat!(env!("OUT_DIR"), "/routerrpc.Router.rs"));
