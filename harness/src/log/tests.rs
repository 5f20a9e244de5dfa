use super::display::{clock, short};
use super::tensorboard::crc32c;
use super::*;
use std::fs::{read, read_to_string, write};
use std::io::Write;
use std::sync::{Arc, Mutex};

/// One line a step, and an evaluation every second step.
fn train(logger: &mut Logger, steps: std::ops::RangeInclusive<u64>) {
    for step in steps {
        logger.progress(step, &[("loss", 1.0 / step as f64)], 10);
        logger
            .log(
                step,
                &[
                    ("loss", 1.0 / step as f64),
                    ("num_tokens", 10.0 * step as f64),
                    ("epoch", step as f64 / 7.0),
                ],
            )
            .unwrap();
        if step % 2 == 0 {
            logger.log(step, &[("eval_loss", 0.1 + step as f64)]).unwrap();
        }
    }
}

#[test]
fn a_resumed_log_equals_the_uninterrupted_one() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    train(&mut Logger::open(whole.path(), None, 6, Start::Fresh).unwrap(), 1..=6);
    train(&mut Logger::open(parts.path(), None, 6, Start::Fresh).unwrap(), 1..=5);
    // Killed in the middle of a line, after a checkpoint at step 4.
    let path = parts.path().join("metrics.jsonl");
    std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b"{\"step\":6,\"lo")
        .unwrap();
    train(
        &mut Logger::open(parts.path(), None, 6, Start::After(4)).unwrap(),
        5..=6,
    );
    assert_eq!(read(path).unwrap(), read(whole.path().join("metrics.jsonl")).unwrap());
}

#[test]
fn a_line_is_a_json_object_that_is_there_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    write(&path, "old\n").unwrap();
    let mut metrics = Metrics::open(&path, Start::Fresh).unwrap();
    metrics
        .log(1, &[("loss", 0.1), ("num_tokens", 128.0), ("grad_norm", f64::NAN)])
        .unwrap();
    assert_eq!(
        read_to_string(&path).unwrap(),
        "{\"step\":1,\"loss\":0.1,\"num_tokens\":128,\"grad_norm\":null}\n"
    );
    metrics.sync().unwrap();
}

#[test]
fn a_log_cut_at_any_byte_is_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let lines = [
        "{\"step\":1,\"loss\":2.5}\n",
        "{\"step\":2,\"loss\":2.25}\n",
        "{\"step\":2,\"eval_loss\":3.5}\n",
    ];
    let text = lines.concat();
    for cut in 0..=text.len() {
        write(&path, &text[..cut]).unwrap();
        drop(Metrics::open(&path, Start::After(2)).unwrap());
        let complete = text[..cut].rfind('\n').map_or(0, |end| end + 1);
        assert_eq!(read_to_string(&path).unwrap(), text[..complete]);
    }
    write(&path, &text).unwrap();
    drop(Metrics::open(&path, Start::After(1)).unwrap());
    assert_eq!(read_to_string(&path).unwrap(), lines[0]);
}

#[test]
fn a_broken_line_before_the_last_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    for broken in ["{\"step\":1, oh}", "{\"loss\":1.0}", "{\"step\":-1}"] {
        let text = format!("{{\"step\":1}}\n{broken}\n{{\"step\":2}}\n");
        write(&path, &text).unwrap();
        let error = Metrics::open(&path, Start::After(2)).unwrap_err().to_string();
        assert!(
            error.ends_with(&format!(
                "metrics.jsonl: line 2: expected a JSON object with a whole step, found {broken}"
            )),
            "{error}"
        );
        assert_eq!(read_to_string(&path).unwrap(), text, "a refused log is left alone");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error_that_names_the_file() {
    let mut metrics = Metrics::open(Path::new("/dev/full"), Start::Fresh).unwrap();
    let error = metrics.log(1, &[("loss", 1.0)]).unwrap_err().to_string();
    assert!(error.starts_with("/dev/full: cannot write: No space left"), "{error}");
}

/// The frames of an event file, their checksums verified.
fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mask = |bytes: &[u8]| crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(bytes[8..12], mask(&bytes[..8]));
        let message = &bytes[12..12 + length];
        assert_eq!(bytes[12 + length..16 + length], mask(message));
        frames.push(message.to_vec());
        bytes = &bytes[16 + length..];
    }
    frames
}

#[test]
fn an_event_file_holds_the_scalars() {
    let folder = tempfile::tempdir().unwrap();
    let mut events = EventFile::create(folder.path(), Start::After(299)).unwrap();
    events.log(300, &[("loss", 0.5), ("eval_loss", -2.0)]).unwrap();
    let frames = frames(&read(events.path()).unwrap());
    // After the key and eight bytes of the time: step, then version, session start or summary.
    let body = |index: usize| {
        let frame: &Vec<u8> = &frames[index];
        assert_eq!(frame[0], 0x09);
        frame[9..].to_vec()
    };
    assert_eq!(body(0), b"\x10\x00\x1a\x0dbrain.Event:2");
    assert_eq!(body(1), b"\x10\xac\x02\x3a\x02\x08\x01");
    let scalars = [
        b"\x10\xac\x02\x2a\x25".as_slice(),
        b"\x0a\x11\x0a\x0atrain/loss\x15",
        &0.5f32.to_le_bytes(),
        b"\x0a\x10\x0a\x09eval/loss\x15",
        &(-2f32).to_le_bytes(),
    ];
    assert_eq!(body(2).len(), scalars.concat().len());
    assert_eq!(body(2), scalars.concat());
    assert_eq!(frames.len(), 3);
    let second = EventFile::create(folder.path(), Start::Fresh).unwrap();
    assert_ne!(second.path(), events.path(), "a run never writes over another's events");
}

#[test]
fn the_checksum_is_castagnolis() {
    // RFC 3720, appendix B.4, and the check value of CRC-32C.
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

/// A writer that can be read while it is lent out.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_show_step_metrics_speed_and_time_left() {
    let out = Shared::default();
    let mut display = Display::lines(out.clone(), 30, 10);
    display.progress(20, &[("loss", 2.5)], 1000);
    display.log(
        20,
        &[("loss", 2.5), ("learning_rate", 1.25e-5), ("num_tokens", 123456.0)],
    );
    display.log(20, &[("eval_loss", 2.0626)]);
    let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines[0].starts_with("step 20/30  loss 2.500  learning_rate 1.250e-5  num_tokens 123456  "),
        "{text}"
    );
    assert!(lines[0].ends_with(" tokens/s  0:00 left"), "{text}");
    assert_eq!(lines[1], "step 20/30  eval_loss 2.063");
}

#[test]
fn numbers_and_times_are_short() {
    for (value, text) in [
        (0.0, "0"),
        (3.0, "3"),
        (0.01234567, "0.01235"),
        (9999.9, "10000"),
        (123.456, "123.5"),
        (1e-7, "1.000e-7"),
        (f64::NAN, "NaN"),
    ] {
        assert_eq!(short(value), text);
    }
    assert_eq!((clock(59.6), clock(3725.0)), ("1:00".into(), "1:02:05".into()));
}
