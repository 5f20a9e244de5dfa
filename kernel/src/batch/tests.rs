use super::*;

#[test]
fn a_shared_prompt_is_stored_once_and_its_last_row_predicts_every_first_token() {
    let mut b = Batch::new(10);
    let prompt = b.segment(None, &[1, 2, 3]).unwrap();
    assert_eq!(b.completion(Some(prompt), &[4, 5]).unwrap(), 0..2);
    assert_eq!(b.completion(Some(prompt), &[6]).unwrap(), 2..3);
    assert_eq!(b.completion(Some(prompt), &[7, 8, 9]).unwrap(), 3..6);
    assert_eq!(b.ids(), [1, 2, 3, 4, 7, 8]);
    assert_eq!(b.positions(), [0, 1, 2, 3, 3, 4]);
    assert_eq!(b.rows(), [2, 3, 2, 2, 4, 5]);
    assert_eq!(b.targets(), [4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_masked_sequence_asks_only_for_what_the_mask_trains() {
    let mut b = Batch::new(10);
    b.sequence(&[1, 2], |_| true).unwrap();
    assert_eq!(
        b.sequence(&[3, 4, 5, 6, 7], |t| t == 0 || t == 2 || t == 3).unwrap(),
        1..3
    );
    assert_eq!(b.ids(), [1, 3, 4, 5]);
    assert_eq!(b.rows(), [0, 2, 3]);
    assert_eq!(b.targets(), [2, 5, 6]);
    assert!(b.sequence(&[1, 2, 3], |_| false).unwrap().is_empty());
    assert_eq!(b.tokens(), 4);
}

#[test]
fn wrong_input_is_refused() {
    let mut b = Batch::new(4);
    assert_eq!(b.segment(None, &[]), Err(BatchError::EmptySegment));
    assert_eq!(
        b.segment(Some(0), &[1]),
        Err(BatchError::NoSuchParent { parent: 0, segments: 0 })
    );
    assert_eq!(
        b.segment(None, &[4]),
        Err(BatchError::TokenOutOfRange { id: 4, vocab: 4 })
    );
    assert_eq!(
        b.completion(None, &[0, 9]),
        Err(BatchError::TokenOutOfRange { id: 9, vocab: 4 })
    );
}
