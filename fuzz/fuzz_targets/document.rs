//! Any bytes as a document; what must hold is said in `lb_model::oracle`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lb_model::oracle::document(data));
