//! Goal: structures and bytes are the same thing in two forms, in the machine's byte order.
//!
//! Method: single fields are looked for at the offsets that the kernel's header gives them, random
//! contents go there and back, and the bytes of a structure are compared with those of a
//! field-by-field build in the order of the header.

use linux_aio_abi::{RWF_APPEND, io_event, iocb};

#[test]
fn zero_is_all_zero_bytes() {
    assert_eq!(iocb::ZERO.to_bytes(), [0; 64]);
    assert_eq!(iocb::ZERO, iocb::default());
    assert_eq!(iocb::ZERO, iocb::from_bytes([0; 64]));
    assert_eq!(io_event::default().to_bytes(), [0; 32]);
}

/// The pair of fields that trades places: on little-endian machines the key comes first.
#[test]
fn key_and_flags_trade_places_with_the_byte_order() {
    let request = iocb { aio_key: 0x0102_0304, aio_rw_flags: RWF_APPEND, ..iocb::ZERO };
    let mut expected = [0; 64];
    if cfg!(target_endian = "little") {
        expected[8..12].copy_from_slice(&[4, 3, 2, 1]);
        expected[12..16].copy_from_slice(&[0x10, 0, 0, 0]);
    } else {
        expected[8..12].copy_from_slice(&[0, 0, 0, 0x10]);
        expected[12..16].copy_from_slice(&[1, 2, 3, 4]);
    }
    assert_eq!(request.to_bytes(), expected);
}

/// The bytes of a request, written in the order of the header's fields.
fn in_header_order(request: &iocb) -> Vec<u8> {
    let key = request.aio_key.to_ne_bytes();
    let flags = request.aio_rw_flags.to_ne_bytes();
    let (first, second) = if cfg!(target_endian = "little") { (key, flags) } else { (flags, key) };
    let mut bytes = Vec::new();
    bytes.extend(request.aio_data.to_ne_bytes());
    bytes.extend(first);
    bytes.extend(second);
    bytes.extend(request.aio_lio_opcode.to_ne_bytes());
    bytes.extend(request.aio_reqprio.to_ne_bytes());
    bytes.extend(request.aio_fildes.to_ne_bytes());
    bytes.extend(request.aio_buf.to_ne_bytes());
    bytes.extend(request.aio_nbytes.to_ne_bytes());
    bytes.extend(request.aio_offset.to_ne_bytes());
    bytes.extend(request.aio_reserved2.to_ne_bytes());
    bytes.extend(request.aio_flags.to_ne_bytes());
    bytes.extend(request.aio_resfd.to_ne_bytes());
    bytes
}

#[test]
fn requests_survive_the_way_through_bytes() {
    for _ in 0..1000 {
        let bytes = core::array::from_fn(|_| fastrand::u8(..));
        let request = iocb::from_bytes(bytes);
        assert_eq!(request.to_bytes(), bytes);
        assert_eq!(in_header_order(&request), bytes);
    }
}

#[test]
fn events_survive_the_way_through_bytes() {
    for _ in 0..1000 {
        let bytes = core::array::from_fn(|_| fastrand::u8(..));
        let event = io_event::from_bytes(bytes);
        assert_eq!(event.to_bytes(), bytes);
        let mut in_order = Vec::new();
        in_order.extend(event.data.to_ne_bytes());
        in_order.extend(event.obj.to_ne_bytes());
        in_order.extend(event.res.to_ne_bytes());
        in_order.extend(event.res2.to_ne_bytes());
        assert_eq!(in_order, bytes);
    }
}

/// A fuzzer's input reaches every byte of the structures, and takes as many bytes as they have.
#[cfg(feature = "arbitrary")]
#[test]
fn arbitrary_reaches_every_byte() {
    use arbitrary::{Arbitrary, Unstructured};

    assert_eq!(iocb::size_hint(0), (64, Some(64)));
    assert_eq!(io_event::size_hint(0), (32, Some(32)));
    let input: Vec<u8> = (1..=96).collect();
    let mut input = Unstructured::new(&input);
    let request = iocb::arbitrary(&mut input).expect("64 bytes");
    let event = io_event::arbitrary(&mut input).expect("32 bytes");
    assert!(input.is_empty());
    assert_eq!(request.to_bytes().to_vec(), (1..=64).collect::<Vec<u8>>());
    assert_eq!(event.to_bytes().to_vec(), (65..=96).collect::<Vec<u8>>());
}
