-- 64_recipes: journeys that many shops run.
--
-- A recipe is data of the extension: the script writes it, nobody changes it, and no dump has it. {x} in a definition is a
-- parameter (src/recipes/fill.c tells how); "when" and "unless" name one with which, or without which, the object is there.

CREATE TABLE marketing_internal.recipe (
	name text PRIMARY KEY,
	about text NOT NULL,
	segment text,
	definition jsonb NOT NULL
);
COMMENT ON TABLE marketing_internal.recipe IS
	'Recipes: journeys to be installed. segment: the rule of the segment it is entered by, with marks of parameters as in definition. Written by the script of the extension.';

CREATE TABLE marketing_internal.recipe_parameter (
	recipe text NOT NULL,
	place int GENERATED ALWAYS AS IDENTITY,
	parameter text NOT NULL,
	kind text NOT NULL,
	value jsonb,
	required boolean NOT NULL DEFAULT false,
	about text NOT NULL,
	PRIMARY KEY (recipe, parameter)
);
COMMENT ON TABLE marketing_internal.recipe_parameter IS
	'What a recipe can be given: kind says what it must be (src/recipes/parameters.c), value is the default, null: none, and then the parts with it fall away.';

INSERT INTO marketing_internal.recipe (name, about, segment, definition) VALUES
('welcome', 'Who signs up confirms it, with one reminder, and then gets to know you. Once.', NULL, $$
{"entry": {"event": "subscription_requested", "where": "topic = {topic}"}, "reentry": "once",
 "exit_on": [{"event": "unsubscribed", "where": "topic = {topic}"}],
 "goal": {"when": "order_event", "event": "{order_event}", "within": "30 days"},
 "steps": [
   {"send": "{confirm}"},
   {"wait_until": {"event": "subscription_confirmed", "where": "topic = {topic}", "since": "entry"}, "timeout": "{remind_after}",
    "else": [{"send": "{confirm}", "id": "reminder"},
             {"wait_until": {"event": "subscription_confirmed", "where": "topic = {topic}", "since": "entry"}, "timeout": "{give_up_after}",
              "else": [{"exit": "never confirmed"}]}]},
   {"send": "{welcome}"},
   {"when": "best_content", "wait": "{best_content_after}"}, {"when": "best_content", "send": "{best_content}"},
   {"when": "feedback", "wait": "{feedback_after}"}, {"when": "feedback", "send": "{feedback}"}]}$$),
('abandoned_cart', 'A basket that is left: a mail with its lines, an SMS to who does not open it, a coupon for some. Until it is ordered or emptied.', NULL, $$
{"entry": {"event": "{cart_event}", "key": "{cart_key}", "on_repeat": "restart"}, "reentry": "per_key", "max_live": 1,
 "exit_on": [{"event": "{order_event}", "where": "{order_cart} = entry.{cart_key}"}, {"if": "no {cart_event} where ({cart_key} = entry.{cart_key})"}],
 "goal": {"event": "{order_event}", "within": "7 days"},
 "quiet_hours": {"when": "quiet_from", "from": "{quiet_from}", "to": "{quiet_to}"},
 "steps": [
   {"wait": "{mail_after}"},
   {"unless": "sms", "send": "{mail}"},
   {"when": "sms", "send": "{mail}", "otherwise": [{"send": "{sms}", "id": "sms_no_mail"}, {"exit": "sms only"}]},
   {"when": "sms", "wait_until": {"event": "email_opened", "step": "{mail}"}, "timeout": "{sms_after}", "else": [{"send": "{sms}"}]},
   {"when": "coupon", "wait": "{coupon_after}"},
   {"when": "coupon", "branch": [{"if": "{coupon_if}", "then": [{"send": "{coupon}"}]}]}]}$$),
('browse_abandonment', 'Who looked at a product and did not order it is reminded of it.', NULL, $$
{"entry": {"event": "{view_event}", "key": "{view_product}"}, "reentry": {"every": "{every}"},
 "exit_on": [{"event": "{order_event}", "where": "{order_product} = entry.{view_product}"}],
 "goal": {"event": "{order_event}", "where": "{order_product} = entry.{view_product}", "within": "7 days"},
 "steps": [{"wait": "{mail_after}"}, {"send": "{mail}"}]}$$),
('first_purchase_feedback', 'After the first order has arrived: a survey; who is happy is asked for a review, who is not gets a call or comes on a list. Until the second order.', NULL, $$
{"entry": {"event": "{delivered_event}"}, "filter": "count({order_event}) = 1", "reentry": "once",
 "exit_on": [{"event": "{order_event}"}],
 "goal": {"event": "{order_event}", "within": "60 days"},
 "steps": [
   {"wait": "{survey_after}"}, {"send": "{survey}"},
   {"wait_until": [{"event": "{answer_event}", "where": "{answer_score} >= {happy_from}", "then": [{"when": "review", "send": "{review}"}]},
                   {"event": "{answer_event}", "where": "{answer_score} <= {unhappy_to}", "then": [
                      {"when": "unhappy_list", "add_to_list": "{unhappy_list}"},
                      {"when": "support_team", "task": "{support_task}", "assign": "round_robin:{support_team}", "due": "1 day"}]},
                   {"event": "{answer_event}"}], "timeout": "{answer_within}"},
   {"when": "cross_sell", "wait": "{cross_sell_after}"}, {"when": "cross_sell", "send": "{cross_sell}"}]}$$),
('birthday', 'A greeting on the birthday, at that hour of the contact''s zone, and a reminder of the present to who has not used it.', NULL, $$
{"entry": {"anniversary": "{birth_date}", "at": "{at}"}, "goal": {"event": "{used_event}", "within": "30 days"},
 "steps": [
   {"send": "{mail}"},
   {"when": "reminder", "wait_until": {"event": "{used_event}", "where": "{used_where}", "since": "entry"}, "timeout": "{reminder_after}", "else": [{"send": "{reminder}"}]}]}$$),
('cross_sell', 'Who bought of one kind gets what goes with it, unless he buys that by himself.', NULL, $$
{"entry": {"event": "{order_event}", "where": "{category} = {bought}"}, "reentry": {"every": "{every}"},
 "filter": "any {view_event} where ({view_category} = {offered}) in {viewed_within}",
 "exit_on": [{"event": "{order_event}", "where": "{category} = {offered}"}],
 "goal": {"event": "{order_event}", "where": "{category} = {offered}", "within": "30 days"},
 "steps": [{"wait": "{mail_after}"}, {"send": "{mail}"}]}$$),
('win_back', 'Who has not ordered for long: a mail, an offer, a last notice, and then a list of those who are let go. Until any order.',
 'last {order_event} more than {lapsed_after} ago', $$
{"entry": {"segment_entered": "{segment}"}, "exit_on": [{"event": "{order_event}"}],
 "goal": {"event": "{order_event}", "within": "60 days"},
 "steps": [
   {"send": "{mail}"},
   {"when": "offer", "wait": "{offer_after}"}, {"when": "offer", "send": "{offer}"},
   {"when": "last_notice", "wait": "{last_notice_after}"}, {"when": "last_notice", "send": "{last_notice}"},
   {"when": "list", "add_to_list": "{list}"}]}$$),
('at_risk', 'Who orders less often than usual: a mail of use to him, then another, and a call to who is worth it.',
 'overdue {order_event} by {factor} and last {order_event} less than {not_after} ago', $$
{"entry": {"segment_entered": "{segment}"}, "exit_on": [{"event": "{order_event}"}],
 "goal": {"event": "{order_event}", "within": "30 days"},
 "steps": [{"send": "{mail}"}, {"when": "second", "wait": "{second_after}"}, {"when": "second", "send": "{second}"},
   {"when": "call_if", "wait": "{call_after}"},
   {"when": "call_if", "branch": [{"if": "{call_if}", "then": [{"task": "{task}", "assign": "round_robin:{team}", "due": "2 days"}]}]}]}$$),
('non_openers', 'Who has not opened a mail gets it once more with another subject. Openings by machines do not count, clicks do.', NULL, $$
{"entry": {"event": "email_sent", "where": "template = {mail}"}, "reentry": "once",
 "steps": [
   {"wait_until": [{"event": "email_opened", "where": "template = {mail} and not machine", "since": "entry", "then": [{"exit": "opened"}]},
                   {"event": "email_clicked", "where": "template = {mail} and not machine", "since": "entry", "then": [{"exit": "opened"}]}],
    "timeout": "{again_after}"},
   {"wait_for_time": {"between": ["{from}", "{to}"]}},
   {"send": "{again}"}]}$$),
('replenishment', 'What is used up is ordered again: a reminder a fixed time after each order, until the next.', NULL, $$
{"entry": {"event": "{order_event}", "where": "{category} = {bought}", "key": "{order_key}"}, "reentry": "per_key",
 "exit_on": [{"event": "{order_event}", "where": "{category} = {bought}"}],
 "goal": {"event": "{order_event}", "where": "{category} = {bought}", "within": "90 days"},
 "steps": [{"wait": "{mail_after}"}, {"send": "{mail}"}, {"when": "second", "wait": "{second_after}"}, {"when": "second", "send": "{second}"}]}$$),
('back_in_stock', 'What somebody waits for is there again. The event is the UPDATE of the row that says so (attach_events with repeat); gone again, nothing goes.', NULL, $$
{"entry": {"event": "{stock_event}", "key": "{product}", "on_repeat": "ignore"}, "reentry": "always",
 "exit_on": [{"event": "{order_event}", "where": "{order_product} = entry.{product}"}, {"if": "no {stock_event} where ({product} = entry.{product})"}],
 "goal": {"event": "{order_event}", "where": "{order_product} = entry.{product}", "within": "7 days"},
 "steps": [{"wait_for_time": {"between": ["{from}", "{to}"]}}, {"send": "{mail}"}]}$$),
('price_drop', 'What somebody looks at costs less. The event is the UPDATE of the row that says so (attach_events with repeat); dearer again, nothing goes.', NULL, $$
{"entry": {"event": "{price_event}", "key": "{product}", "on_repeat": "restart"}, "reentry": "always",
 "exit_on": [{"event": "{order_event}", "where": "{order_product} = entry.{product}"}, {"if": "no {price_event} where ({product} = entry.{product})"}],
 "goal": {"event": "{order_event}", "where": "{order_product} = entry.{product}", "within": "7 days"},
 "steps": [{"wait_for_time": {"between": ["{from}", "{to}"]}}, {"send": "{mail}"}]}$$),
('sunset', 'Who gets mail and never opens any is asked whether he wants it; who does not click is let go.',
 'count(email_sent) in {silent_for} >= {mails} and first email_sent more than {silent_for} ago and no email_opened where (not machine) in {silent_for} and no email_clicked where (not machine) in {silent_for}', $$
{"entry": {"segment_entered": "{segment}"}, "reentry": {"every": "1 year"},
 "exit_on": [{"event": "unsubscribed", "where": "topic = {topic}"}],
 "steps": [
   {"send": "{ask}"},
   {"wait_until": [{"event": "email_clicked", "step": "{ask}", "where": "not machine", "then": [{"exit": "stays"}]}], "timeout": "{answer_within}"},
   {"when": "list", "add_to_list": "{list}"}, {"when": "opt_out", "sql": "{opt_out}"}]}$$),
('lead_nurture', 'Who is not ready for sales is told more every few days, until the score or a question says he is: then a task for sales, and a mail to the owner if nobody takes it.', NULL, $$
{"entry": {"event": "{lead_event}"}, "filter": "score({model}) < {points}",
 "exit_on": [{"event": "{customer_event}"}, {"event": "lead_rejected"}],
 "goal": {"event": "lead_accepted", "within": "90 days"},
 "steps": [
   {"send": "{first}"},
   {"id": "after_first", "wait_until": [{"if": "score({model}) >= {points}", "then": [{"goto": "hand_off", "at_most": 1}]},
     {"when": "asked_event", "event": "{asked_event}", "since": "entry", "then": [{"goto": "hand_off", "at_most": 1}]}], "timeout": "{every}"},
   {"when": "second", "send": "{second}"},
   {"when": "second", "id": "after_second", "wait_until": [{"if": "score({model}) >= {points}", "then": [{"goto": "hand_off", "at_most": 1}]},
     {"when": "asked_event", "event": "{asked_event}", "since": "entry", "then": [{"goto": "hand_off", "at_most": 1}]}], "timeout": "{every}"},
   {"when": "third", "send": "{third}"},
   {"id": "in_the_end", "wait_until": [{"if": "score({model}) >= {points}"},
     {"when": "asked_event", "event": "{asked_event}", "since": "entry"}], "timeout": "{give_up_after}", "else": [{"exit": "never ready"}]},
   {"id": "hand_off", "task": "{task}", "assign": "round_robin:{team}", "due": "{due}"},
   {"when": "stage", "stage": "{stage}"},
   {"when": "notify", "notify": "{notify}"},
   {"when": "not_taken", "wait_until": {"event": "lead_accepted"}, "timeout": "{taken_within}", "else": [{"send": "{not_taken}", "to": "owner"}]}]}$$),
('best_customer', 'Who becomes one of the best is thanked, asked to bring others, and gets a word from the owner. At most once in three months.',
 'count({order_event}) in 1 year >= {orders} and sum({order_event}.{value}) in 1 year >= {spent} and last {order_event} less than {recent} ago', $$
{"entry": {"segment_entered": "{segment}"}, "reentry": {"every": "3 months"},
 "exit_on": [{"when": "referral_event", "event": "{referral_event}"}],
 "goal": {"when": "referral_event", "event": "{referral_event}", "within": "90 days"},
 "steps": [
   {"send": "{thanks}"},
   {"when": "invite", "wait": "{invite_after}"}, {"when": "invite", "send": "{invite}"},
   {"when": "task", "wait": "{task_after}"}, {"when": "task", "task": "{task}", "assign": "round_robin:{team}", "due": "7 days"}]}$$);

INSERT INTO marketing_internal.recipe_parameter (recipe, parameter, kind, value, required, about) VALUES
('welcome', 'topic', 'topic', '"newsletter"', true, 'what they sign up for, with consent double_opt_in'),
('welcome', 'order_event', 'event', '"order_placed"', false, 'the goal, within 30 days'),
('welcome', 'confirm', 'template', '"confirm"', true, 'asks to confirm, with {{ confirm_url }}; of topic transactional'),
('welcome', 'remind_after', 'duration', '"2 days"', true, 'when it is sent once more'),
('welcome', 'give_up_after', 'duration', '"5 days"', true, 'how long it is waited after that'),
('welcome', 'welcome', 'template', '"welcome"', true, 'at once when it is confirmed'),
('welcome', 'best_content_after', 'duration', '"2 days"', true, 'time before the next'),
('welcome', 'best_content', 'template', '"best_content"', false, 'the second mail'),
('welcome', 'feedback_after', 'duration', '"7 days"', true, 'time before the next'),
('welcome', 'feedback', 'template', '"feedback"', false, 'the third mail'),
('abandoned_cart', 'cart_event', 'event', '"cart_updated"', true, 'a basket with something in it, attached with repeat'),
('abandoned_cart', 'cart_key', 'column', '"id"', true, 'of the basket, which tells one from another'),
('abandoned_cart', 'order_event', 'event', '"order_placed"', true, 'ends it'),
('abandoned_cart', 'order_cart', 'column', '"cart_id"', false, 'of the order: the basket it comes from; null: any order ends it'),
('abandoned_cart', 'mail_after', 'duration', '"1 hour"', true, 'time since the last change of the basket'),
('abandoned_cart', 'mail', 'template', '"cart_mail"', true, 'the mail, with the lines of the basket'),
('abandoned_cart', 'sms', 'template', NULL, false, 'SMS to who has no mail or does not open it'),
('abandoned_cart', 'sms_after', 'duration', '"23 hours"', true, 'time before the next'),
('abandoned_cart', 'coupon', 'template', NULL, false, 'a last mail, with a coupon'),
('abandoned_cart', 'coupon_after', 'duration', '"24 hours"', true, 'time before it'),
('abandoned_cart', 'coupon_if', 'rule', '"in segment discount_sensitive"', true, 'who gets the coupon'),
('abandoned_cart', 'quiet_from', 'time', '"21:00"', false, 'quiet hours of the contact''s zone; null: those of the channel'),
('abandoned_cart', 'quiet_to', 'time', '"09:00"', true, 'their end'),
('browse_abandonment', 'view_event', 'event', '"product_viewed"', true, 'a look at a product'),
('browse_abandonment', 'view_product', 'column', '"product_id"', true, 'of the look: the product'),
('browse_abandonment', 'order_event', 'event', '"order_placed"', true, 'ends it'),
('browse_abandonment', 'order_product', 'column', '"product_id"', false, 'of the order: the product; null: any order ends it'),
('browse_abandonment', 'mail_after', 'duration', '"2 hours"', true, 'time since the look'),
('browse_abandonment', 'mail', 'template', '"browse_reminder"', true, 'the reminder'),
('browse_abandonment', 'every', 'duration', '"7 days"', true, 'at most one in that time'),
('first_purchase_feedback', 'delivered_event', 'event', '"order_shipped"', true, 'the goods are there'),
('first_purchase_feedback', 'order_event', 'event', '"order_placed"', true, 'an order; the second ends it'),
('first_purchase_feedback', 'survey_after', 'duration', '"3 days"', true, 'time since delivery'),
('first_purchase_feedback', 'survey', 'template', '"survey"', true, 'asks how it was'),
('first_purchase_feedback', 'answer_event', 'event', '"survey_answered"', true, 'the answer'),
('first_purchase_feedback', 'answer_score', 'column', '"score"', true, 'of the answer: 0 to 10'),
('first_purchase_feedback', 'happy_from', 'number', '9', true, 'who gives so many is asked for a review'),
('first_purchase_feedback', 'unhappy_to', 'number', '6', true, 'who gives so few needs help'),
('first_purchase_feedback', 'answer_within', 'duration', '"7 days"', true, 'how long it is waited for'),
('first_purchase_feedback', 'review', 'template', '"review"', false, 'asks for a review'),
('first_purchase_feedback', 'unhappy_list', 'list', NULL, false, 'where who needs help is put'),
('first_purchase_feedback', 'support_team', 'team', NULL, false, 'who calls him, within a day'),
('first_purchase_feedback', 'support_task', 'text', '"Call: not happy with the first order"', true, 'what it is called, in Liquid'),
('first_purchase_feedback', 'cross_sell_after', 'duration', '"14 days"', true, 'time before it'),
('first_purchase_feedback', 'cross_sell', 'template', NULL, false, 'a last mail, with what goes with it'),
('birthday', 'birth_date', 'column', '"birth_date"', true, 'of the contact'),
('birthday', 'at', 'time', '"09:00"', true, 'the hour, in the contact''s zone'),
('birthday', 'mail', 'template', '"birthday"', true, 'the greeting, with a present'),
('birthday', 'used_event', 'event', '"order_placed"', true, 'the present is used'),
('birthday', 'used_where', 'condition', NULL, false, 'which of these rows, such as coupon = ''BIRTHDAY'''),
('birthday', 'reminder_after', 'duration', '"7 days"', true, 'time before it'),
('birthday', 'reminder', 'template', '"birthday_reminder"', false, 'to who has not used it'),
('cross_sell', 'order_event', 'event', '"order_placed"', true, 'an order, or a line of one'),
('cross_sell', 'category', 'column', '"category"', true, 'of the order: the kind'),
('cross_sell', 'bought', 'text', NULL, true, 'the kind that is bought'),
('cross_sell', 'offered', 'text', NULL, true, 'the kind that goes with it'),
('cross_sell', 'view_event', 'event', NULL, false, 'a look: only who looked at what is offered'),
('cross_sell', 'view_category', 'column', '"category"', true, 'of the look: the kind'),
('cross_sell', 'viewed_within', 'duration', '"30 days"', true, 'how long ago at most'),
('cross_sell', 'mail_after', 'duration', '"7 days"', true, 'time since the order'),
('cross_sell', 'mail', 'template', '"cross_sell"', true, 'the recommendation'),
('cross_sell', 'every', 'duration', '"30 days"', true, 'at most one in that time'),
('win_back', 'order_event', 'event', '"order_placed"', true, 'an order'),
('win_back', 'lapsed_after', 'duration', '"90 days"', true, 'without an order'),
('win_back', 'segment', 'segment', NULL, false, 'one of yours in place of that rule'),
('win_back', 'mail', 'template', '"miss_you"', true, 'the first mail'),
('win_back', 'offer_after', 'duration', '"7 days"', true, 'time before the next'),
('win_back', 'offer', 'template', '"offer"', false, 'the second'),
('win_back', 'last_notice_after', 'duration', '"14 days"', true, 'time before the next'),
('win_back', 'last_notice', 'template', '"last_notice"', false, 'the third'),
('win_back', 'list', 'list', '"sunset"', false, 'where who has not come back is put'),
('at_risk', 'order_event', 'event', '"order_placed"', true, 'an order'),
('at_risk', 'factor', 'number', '2', true, 'so many times his own mean interval has gone by'),
('at_risk', 'not_after', 'duration', '"1 year"', true, 'older orders are not at risk but lost'),
('at_risk', 'segment', 'segment', NULL, false, 'one of yours in place of that rule'),
('at_risk', 'mail', 'template', '"value"', true, 'the first mail'),
('at_risk', 'second_after', 'duration', '"5 days"', true, 'time before the next'),
('at_risk', 'second', 'template', NULL, false, 'the second, of any channel'),
('at_risk', 'call_if', 'rule', NULL, false, 'who is called, such as sum(order_placed.total) > 1000'),
('at_risk', 'call_after', 'duration', '"5 days"', true, 'time before it'),
('at_risk', 'task', 'text', '"Call: has not ordered for long"', true, 'what it is called, in Liquid'),
('at_risk', 'team', 'team', NULL, false, 'who calls; null: the contact''s owner'),
('non_openers', 'mail', 'template', NULL, true, 'the mail that may not have been opened'),
('non_openers', 'again', 'template', NULL, true, 'the same with another subject'),
('non_openers', 'again_after', 'duration', '"3 days"', true, 'how long it may be unopened'),
('non_openers', 'from', 'time', '"09:00"', true, 'when in the day of the contact it may go'),
('non_openers', 'to', 'time', '"20:00"', true, 'and until when'),
('replenishment', 'order_event', 'event', '"order_placed"', true, 'an order, or a line of one'),
('replenishment', 'order_key', 'column', '"id"', true, 'which tells one from another'),
('replenishment', 'category', 'column', NULL, false, 'of the order: the kind, if not all count'),
('replenishment', 'bought', 'text', NULL, false, 'the kind that is used up'),
('replenishment', 'mail_after', 'duration', '"27 days"', true, 'how long it lasts, less a few days'),
('replenishment', 'mail', 'template', '"replenish"', true, 'the reminder'),
('replenishment', 'second_after', 'duration', '"7 days"', true, 'time before the next'),
('replenishment', 'second', 'template', NULL, false, 'a second reminder'),
('back_in_stock', 'stock_event', 'event', '"back_in_stock"', true, 'a row of who waits for a product that is there, attached with repeat'),
('back_in_stock', 'product', 'column', '"product_id"', true, 'of that row: the product'),
('back_in_stock', 'order_event', 'event', '"order_placed"', true, 'ends it'),
('back_in_stock', 'order_product', 'column', '"product_id"', false, 'of the order: the product; null: any order ends it'),
('back_in_stock', 'from', 'time', '"09:00"', true, 'when in the day of the contact it may go'),
('back_in_stock', 'to', 'time', '"20:00"', true, 'and until when'),
('back_in_stock', 'mail', 'template', '"back_in_stock"', true, 'the mail; {{ entry }} is that row'),
('price_drop', 'price_event', 'event', '"price_dropped"', true, 'a row of who looks at a product that costs less, attached with repeat'),
('price_drop', 'product', 'column', '"product_id"', true, 'of that row: the product'),
('price_drop', 'order_event', 'event', '"order_placed"', true, 'ends it'),
('price_drop', 'order_product', 'column', '"product_id"', false, 'of the order: the product; null: any order ends it'),
('price_drop', 'from', 'time', '"09:00"', true, 'when in the day of the contact it may go'),
('price_drop', 'to', 'time', '"20:00"', true, 'and until when'),
('price_drop', 'mail', 'template', '"price_drop"', true, 'the mail; {{ entry }} is that row'),
('sunset', 'silent_for', 'duration', '"180 days"', true, 'mail without an opening or a click'),
('sunset', 'mails', 'number', '5', true, 'so many mails in that time, at least'),
('sunset', 'segment', 'segment', NULL, false, 'one of yours in place of that rule'),
('sunset', 'topic', 'topic', '"newsletter"', true, 'what it is about: unsubscribed, it is over'),
('sunset', 'ask', 'template', '"still_interested"', true, 'asks; a click says yes'),
('sunset', 'answer_within', 'duration', '"14 days"', true, 'how long it is waited for'),
('sunset', 'list', 'list', '"sunset"', false, 'where who has not clicked is put'),
('sunset', 'opt_out', 'function', NULL, false, 'a function(contact text, entry jsonb) of yours that unsubscribes him'),
('lead_nurture', 'lead_event', 'event', '"form_submitted"', true, 'a lead'),
('lead_nurture', 'model', 'model', '"lead"', true, 'the score'),
('lead_nurture', 'points', 'number', '50', true, 'from which on he is ready; who has them already does not enter'),
('lead_nurture', 'asked_event', 'event', NULL, false, 'asks for a demo or a call: ready, too'),
('lead_nurture', 'customer_event', 'event', '"order_placed"', true, 'is a customer: ends it'),
('lead_nurture', 'first', 'template', '"nurture_1"', true, 'the first mail'),
('lead_nurture', 'every', 'duration', '"4 days"', true, 'time between mails'),
('lead_nurture', 'second', 'template', '"nurture_2"', false, 'the second'),
('lead_nurture', 'third', 'template', '"nurture_3"', false, 'the third'),
('lead_nurture', 'give_up_after', 'duration', '"60 days"', true, 'how long it is waited after the last'),
('lead_nurture', 'task', 'text', '"Call: a lead is ready"', true, 'what it is called, in Liquid'),
('lead_nurture', 'team', 'team', NULL, false, 'who takes turns with leads; null: the contact''s owner'),
('lead_nurture', 'due', 'duration', '"4 hours"', true, 'when the task is due'),
('lead_nurture', 'stage', 'stage', NULL, false, 'where he is then'),
('lead_nurture', 'notify', 'text', NULL, false, 'a channel of NOTIFY'),
('lead_nurture', 'not_taken', 'template', NULL, false, 'a mail to the owner, if nobody takes the lead'),
('lead_nurture', 'taken_within', 'duration', '"1 day"', true, 'how long that may last'),
('best_customer', 'order_event', 'event', '"order_placed"', true, 'an order'),
('best_customer', 'value', 'column', '"total"', true, 'of the order: what it is worth'),
('best_customer', 'orders', 'number', '5', true, 'in a year, at least'),
('best_customer', 'spent', 'number', '0', true, 'in a year, at least'),
('best_customer', 'recent', 'duration', '"60 days"', true, 'since the last order, at most'),
('best_customer', 'segment', 'segment', NULL, false, 'one of yours in place of that rule, such as rfm_333'),
('best_customer', 'thanks', 'template', '"thanks"', true, 'the first mail'),
('best_customer', 'invite_after', 'duration', '"7 days"', true, 'time before the next'),
('best_customer', 'invite', 'template', NULL, false, 'asks to bring others'),
('best_customer', 'referral_event', 'event', NULL, false, 'he has brought somebody: ends it'),
('best_customer', 'task_after', 'duration', '"7 days"', true, 'time before it'),
('best_customer', 'task', 'text', NULL, false, 'a task, in Liquid, such as Thank {{ contact.first_name }}'),
('best_customer', 'team', 'team', NULL, false, 'who gets it; null: the contact''s owner');

CREATE VIEW marketing.recipes AS
	SELECT r.name, r.about, p.parameters, p.meaning
	FROM marketing_internal.recipe AS r CROSS JOIN LATERAL (
		SELECT pg_catalog.jsonb_object_agg(p.parameter, p.value) AS parameters,
			pg_catalog.string_agg(pg_catalog.format('%s (%s%s): %s', p.parameter, p.kind,
				CASE WHEN p.value IS NULL AND p.required THEN ', required' WHEN NOT p.required THEN ', optional' END, p.about), e'\n' ORDER BY p.place) AS meaning
		FROM marketing_internal.recipe_parameter AS p WHERE p.recipe OPERATOR(pg_catalog.=) r.name) AS p
	ORDER BY r.name;
COMMENT ON VIEW marketing.recipes IS
	'Journeys that install_recipe() defines: what each is for, its parameters with their defaults, and a line for each that says what it is and means. Optional ones may be null, and then the parts with them fall away.';

CREATE FUNCTION marketing.preview_recipe(name text, parameters jsonb DEFAULT '{}', journey text DEFAULT NULL,
	OUT definition jsonb, OUT segment text, OUT rule text)
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_preview_recipe';
COMMENT ON FUNCTION marketing.preview_recipe(text, jsonb, text) IS
	'What install_recipe() would define: the journey''s definition, and the segment it is entered by with its rule. For simulate_journey() and check_journey(), or to be changed and defined by hand. Errors: 42704 unknown recipe, 22023 for parameters that are unknown, missing or not of their kind, all at once.';

CREATE FUNCTION marketing.install_recipe(name text, parameters jsonb DEFAULT '{}', journey text DEFAULT NULL) RETURNS text
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	BEGIN ATOMIC
		SELECT pg_catalog.concat_ws('; ', marketing.define_journey(COALESCE($3, $1), p.definition), p.answer)
		FROM (SELECT r.definition, CASE WHEN r.segment IS NOT NULL THEN pg_catalog.format('segment %s',
				marketing.define_segment(r.segment, r.rule, description => pg_catalog.format('who enters journey %s (recipe %s)', COALESCE($3, $1), $1))) END AS answer
			FROM marketing.preview_recipe($1, $2, $3) AS r) AS p;
	END;
COMMENT ON FUNCTION marketing.install_recipe(text, jsonb, text) IS
	'Defines a journey by a recipe (marketing.recipes), as a draft: look at it with simulate_journey(), then activate_journey(). parameters: what is not as the recipe takes it, {"mail": "my_template"}; null leaves an optional part out. journey: its name, that of the recipe unless given. A recipe that is entered by a segment defines recipe_JOURNEY too, unless it is given one. Run again it answers unchanged; define_journey() changes the journey like any other, and then this would put it back. Errors: those of preview_recipe(), define_segment() and define_journey().';
