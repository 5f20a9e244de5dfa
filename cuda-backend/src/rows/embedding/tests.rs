use super::Lists;

#[test]
fn the_rows_of_one_row_stay_in_their_order() {
    let expected = Lists {
        order: vec![1, 4, 0, 2, 3],
        named: vec![3, 7, 9],
        begin: vec![0, 2, 4, 5],
    };
    assert_eq!(Lists::new(&[7, 3, 7, 9, 3]), expected);
    assert_eq!(Lists::new(&[]).named, Vec::<u32>::new());
}
