//! Images: 8-bit grey or colour, scaled to 0 to 1.

use ::png::{BitDepth, ColorType, Decoder, Limits};
use mlc_ir::TensorF32;

use super::InputError;

/// Most bytes that decoding may take.
const LIMIT: usize = 1 << 28;

pub(super) fn parse(bytes: &[u8]) -> Result<TensorF32, InputError> {
    let fail = |why: String| InputError::Png(why);
    let mut decoder = Decoder::new(std::io::Cursor::new(bytes));
    decoder.set_limits(Limits { bytes: LIMIT });
    let mut reader = decoder.read_info().map_err(|e| fail(e.to_string()))?;
    let (color, depth) = reader.output_color_type();
    let channels = match (color, depth) {
        (ColorType::Grayscale, BitDepth::Eight) => 1,
        (ColorType::Rgb, BitDepth::Eight) => 3,
        _ => {
            return Err(fail(format!(
                "{color:?} of {} bits; 8-bit grey and RGB without transparency are read",
                depth as u8
            )));
        }
    };
    let size = reader.output_buffer_size().filter(|&n| n <= LIMIT);
    let size = size.ok_or_else(|| fail("it is too large".into()))?;
    let mut pixels = vec![0u8; size];
    let info = reader.next_frame(&mut pixels).map_err(|e| fail(e.to_string()))?;
    let (h, w) = (info.height as usize, info.width as usize);
    let at = |c: usize, i: usize| f32::from(pixels[i * channels + c]) / 255.0;
    let data = (0..channels).flat_map(|c| (0..h * w).map(move |i| at(c, i))).collect();
    let shape = if channels == 1 { vec![h, w] } else { vec![3, h, w] };
    Ok(TensorF32 { shape, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(w: u32, h: u32, color: ColorType, depth: BitDepth, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = ::png::Encoder::new(&mut out, w, h);
        encoder.set_color(color);
        encoder.set_depth(depth);
        encoder.write_header().unwrap().write_image_data(data).unwrap();
        out
    }

    #[test]
    fn grey_and_colour() {
        let grey = encode(2, 1, ColorType::Grayscale, BitDepth::Eight, &[0, 255]);
        let t = parse(&grey).unwrap();
        assert_eq!((t.shape, t.data), (vec![1, 2], vec![0.0, 1.0]));
        let rgb = encode(1, 2, ColorType::Rgb, BitDepth::Eight, &[255, 0, 51, 0, 0, 102]);
        let t = parse(&rgb).unwrap();
        assert_eq!((t.shape, t.data), (vec![3, 2, 1], vec![1.0, 0.0, 0.0, 0.0, 0.2, 0.4]));
    }

    #[test]
    fn others_are_refused() {
        let error = |bytes: &[u8]| parse(bytes).unwrap_err().to_string();
        let alpha = encode(1, 1, ColorType::Rgba, BitDepth::Eight, &[1, 2, 3, 4]);
        assert!(error(&alpha).contains("Rgba of 8 bits"));
        let deep = encode(1, 1, ColorType::Grayscale, BitDepth::Sixteen, &[1, 2]);
        assert!(error(&deep).contains("16 bits"));
        let grey = encode(4, 4, ColorType::Grayscale, BitDepth::Eight, &[7; 16]);
        for cut in [0, 8, 20, grey.len() / 2] {
            assert!(error(&grey[..cut]).starts_with("not a readable PNG image"), "{cut}");
        }
    }
}
