-- 0b go live
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'smtp.shop.example', port '587', tls 'require');
CREATE SERVER sms  FOREIGN DATA WRAPPER marketing_http OPTIONS (preset 'twilio');
SELECT marketing.define_sender('shop', channel => 'email', server => 'mail', from_address => 'hello@shop.example');
SELECT marketing.define_sender('shop_sms', channel => 'sms', server => 'sms', from_address => '+908505550100');
SELECT marketing.configure('public_url', 'https://m.shop.example');
SELECT marketing.arm();
