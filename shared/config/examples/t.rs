//! scratch
fn main() {
    let mut text = String::new();
    for i in 0..30 {
        text.push_str(&format!("[tools.t{i}]\nmethod=\"POST\"\nurl=\"https://a.example/{{id}}\"\nbody='{{a: .b}}'\ninput={{type=\"object\",required=[\"id\"],properties={{id={{type=\"string\"}}}}}}\n[[routes]]\nname=\"r{i}\"\nsource=\"s\"\nfilter='.a > 1'\ninput='{{id: .b}}'\ntool=\"t{i}\"\n"));
    }
    let t = std::time::Instant::now();
    let (c, d) = clawbridge_config::check(&text);
    println!("check {:?} {}", t.elapsed(), d.len());
    let j = c.unwrap().to_json();
    for _ in 0..3 {
        let t = std::time::Instant::now();
        clawbridge_config::Compiled::from_json(&j).unwrap();
        println!("compile {:?}", t.elapsed());
    }
}
