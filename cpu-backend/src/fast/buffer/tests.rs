use super::*;

#[test]
fn a_buffer_is_zeroed_and_begins_on_a_cache_line() {
    for len in [0, 1, 17, 4096] {
        let mut b = Buffer::<f32>::zeroed(len).unwrap();
        assert_eq!(b.len(), len);
        assert_eq!(b.as_ptr() as usize % LINE, 0);
        assert!(b.iter().all(|&x| x == 0.0));
        b.fill(1.0);
        assert!(b.iter().all(|&x| x == 1.0));
    }
}

#[test]
fn memory_that_is_not_there_is_an_error() {
    for len in [usize::MAX, usize::MAX / 4, 1 << 60] {
        // Else the optimizer leaves an allocation out that nobody reads.
        let Err(e) = std::hint::black_box(Buffer::<f32>::zeroed(len)) else {
            panic!("{len} numbers")
        };
        assert!(e.bytes >= len / 2);
    }
}

#[test]
fn a_room_grows_and_is_kept() {
    let mut room = Room::default();
    assert_eq!(room.get::<f32>(0).len(), 0);
    room.get::<f32>(10).fill(2.0);
    assert_eq!(room.get::<u32>(3), [2f32.to_bits(); 3]);
    assert_eq!(room.get::<f64>(1000).len(), 1000);
    let before = room.get::<u8>(8000).as_ptr();
    assert_eq!(room.get::<u8>(7).as_ptr(), before);
    // 8000 bytes are no whole number of twelve.
    assert_eq!(room.get::<[u32; 3]>(5).len(), 5);
}
