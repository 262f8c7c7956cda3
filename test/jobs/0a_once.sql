-- 0a once per shop
SELECT marketing.define_topic('offers', 'Offers', channels => '{email,sms}', consent => 'opt_in');
SELECT marketing.define_topic('newsletter', 'Weekly letter', channels => '{email}', consent => 'double_opt_in');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', phone => 'phone', time_zone => 'tz',
         consent => '{"offers/email": "newsletter_ok", "offers/sms": "sms_ok"}');
SELECT marketing.attach_contacts('subscribers', id => 'id', email => 'email', match => 'email');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'created_at',
         condition => $$status <> 'cancelled'$$, value => 'total', currency => 'currency');
SELECT marketing.attach_events('orders', event => 'order_shipped', contact => 'customer_id', occurred_at => 'shipped_at');
SELECT marketing.attach_events('carts', event => 'cart_updated', contact => 'customer_id', occurred_at => 'updated_at',
         condition => $$item_count > 0$$, repeat => true);
SELECT marketing.attach_events('site_events', event_column => 'name', contact => 'customer_id', occurred_at => 'at');
SELECT marketing.declare_event(n) FROM unnest('{form_submitted,page_viewed,store_visited}'::text[]) n;
