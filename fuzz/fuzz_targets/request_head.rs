//! Any bytes as a request head; what must hold is said in `lb_http::h1::oracle`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lb_http::h1::oracle::request_head(data));
