//! PNG images as `[channels, height, width]`; pixels are scaled to [0, 1] unless the settings say otherwise.

use std::io::Cursor;

use mlc_ir::Tensor;

use crate::project::InputTable;

/// The pixels of an image, channel by channel; an alpha channel counts as a channel.
pub(crate) fn parse(bytes: &[u8], table: Option<InputTable>) -> Result<Tensor<f64>, String> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(|e| e.to_string())?;
    let size = reader.output_buffer_size().ok_or("the image is too large")?;
    let mut buffer = vec![0; size];
    let frame = reader.next_frame(&mut buffer).map_err(|e| e.to_string())?;
    let samples: Vec<f64> = match frame.bit_depth {
        png::BitDepth::Sixteen => {
            let pairs = buffer[..frame.buffer_size()].as_chunks::<2>().0;
            pairs.iter().map(|b| f64::from(u16::from_be_bytes(*b))).collect()
        }
        _ => buffer[..frame.buffer_size()].iter().map(|v| f64::from(*v)).collect(),
    };
    let most = if frame.bit_depth == png::BitDepth::Sixteen { 65535.0 } else { 255.0 };
    let scale = table.and_then(|t| t.scale).unwrap_or(1.0 / most);
    let offset = table.map_or(0.0, |t| t.offset);
    let (width, height) = (frame.width as usize, frame.height as usize);
    let channels = frame.color_type.samples();
    let mut data = Vec::with_capacity(samples.len());
    for c in 0..channels {
        data.extend(samples.iter().skip(c).step_by(channels).map(|v| v * scale + offset));
    }
    Tensor::new(vec![channels, height, width], data).ok_or_else(|| "the image has another size than it says".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_come_first_and_truncation_is_noticed() {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header().unwrap().write_image_data(&[255, 0, 51, 0, 255, 102]).unwrap();
        let image = parse(&bytes, None).unwrap();
        assert_eq!(image.shape, [3, 1, 2]);
        assert_eq!(image.data, [1.0, 0.0, 0.0, 1.0, 51.0 / 255.0, 102.0 / 255.0]);
        let raw = InputTable {
            scale: Some(1.0),
            offset: -1.0,
        };
        assert_eq!(parse(&bytes, Some(raw)).unwrap().data[0], 254.0);
        assert!(parse(&bytes[..bytes.len() / 2], None).is_err());
    }
}
