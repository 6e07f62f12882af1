//! The services the simulator answers for, with the client crate's own message types: no `.proto`
//! and no `protoc` here.
use tonic_build::manual::{Builder, Method, MethodBuilder, Service};

fn main() {
    let state = Service::builder()
        .name("State")
        .package("lnrpc") // LND's name; the client crate's vendored proto says staterpc
        .method(unary("GetState", "staterpc::GetStateRequest", "staterpc::GetStateResponse"))
        .build();
    let lightning = Service::builder()
        .name("Lightning")
        .package("lnrpc")
        .method(unary("GetInfo", "lnrpc::GetInfoRequest", "lnrpc::GetInfoResponse"))
        .method(unary("AddInvoice", "lnrpc::Invoice", "lnrpc::AddInvoiceResponse"))
        .method(unary("LookupInvoice", "lnrpc::PaymentHash", "lnrpc::Invoice"))
        .method(unary("ListInvoices", "lnrpc::ListInvoiceRequest", "lnrpc::ListInvoiceResponse"))
        .method(unary("ListPayments", "lnrpc::ListPaymentsRequest", "lnrpc::ListPaymentsResponse"))
        .method(unary("ListChannels", "lnrpc::ListChannelsRequest", "lnrpc::ListChannelsResponse"))
        .method(unary(
            "ChannelBalance",
            "lnrpc::ChannelBalanceRequest",
            "lnrpc::ChannelBalanceResponse",
        ))
        .method(unary("DecodePayReq", "lnrpc::PayReqString", "lnrpc::PayReq"))
        .build();
    let invoices = Service::builder()
        .name("Invoices")
        .package("invoicesrpc")
        .method(unary(
            "AddHoldInvoice",
            "invoicesrpc::AddHoldInvoiceRequest",
            "invoicesrpc::AddHoldInvoiceResp",
        ))
        .method(unary(
            "SettleInvoice",
            "invoicesrpc::SettleInvoiceMsg",
            "invoicesrpc::SettleInvoiceResp",
        ))
        .method(unary(
            "CancelInvoice",
            "invoicesrpc::CancelInvoiceMsg",
            "invoicesrpc::CancelInvoiceResp",
        ))
        .method(unary("LookupInvoiceV2", "invoicesrpc::LookupInvoiceMsg", "lnrpc::Invoice"))
        .method(streaming(
            "SubscribeSingleInvoice",
            "invoicesrpc::SubscribeSingleInvoiceRequest",
            "lnrpc::Invoice",
        ))
        .build();
    let router = Service::builder()
        .name("Router")
        .package("routerrpc")
        .method(streaming("SendPaymentV2", "routerrpc::SendPaymentRequest", "lnrpc::Payment"))
        .method(streaming("TrackPaymentV2", "routerrpc::TrackPaymentRequest", "lnrpc::Payment"))
        .build();
    Builder::new().build_client(false).compile(&[state, lightning, invoices, router]);
}

fn unary(route: &str, input: &str, output: &str) -> Method {
    method(route, input, output).build()
}

fn streaming(route: &str, input: &str, output: &str) -> Method {
    method(route, input, output).server_streaming().build()
}

fn method(route: &str, input: &str, output: &str) -> MethodBuilder {
    Method::builder()
        .name(snake_case(route))
        .route_name(route)
        .input_type(format!("fedimint_tonic_lnd::{input}"))
        .output_type(format!("fedimint_tonic_lnd::{output}"))
        .codec_path("tonic::codec::ProstCodec")
}

fn snake_case(route: &str) -> String {
    let mut name = String::new();
    for (place, letter) in route.char_indices() {
        if letter.is_ascii_uppercase() && place > 0 {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}
