/*
 * message.c
 *		Messages of a batch: contacts read once, queries run once, each message
 *		rendered by itself.
 *
 * A fault of the template or its data is the message's own: the renderer allocates
 * memory and nothing else (no lock, no buffer, no snapshot is open while it runs), so
 * its errors can be caught without a subtransaction.  What reads tables from inside a
 * rendering, a snippet or a query that is used for the first time, does so before or
 * in subtransactions of its own.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "content/content_internal.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "contacts/contacts.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* Files of a batch; whoever comes when there are more waits for the next one. */
#define MOST_OCTETS (32 * 1024 * 1024)

/* A query in this batch; rows are there for the messages for which it has run. */
typedef struct BatchQuery
{
	const MaQuery *query;
	LiquidName	name;
	MaLiquid  **params;
	Datum	   *rows;			/* 0: not run for this message */
	char	  **errors;
} BatchQuery;

typedef struct Batch
{
	MemoryContext context;
	const MaRenderRequest *requests;
	int			n;
	MaContactView *views;
	int			nviews;
	LiquidGlobals *globals;
	MaVersion **versions;
	MaRendered *rendered;
	MemoryContext results;
	const char *part;			/* that is being rendered */
	Size		octets;			/* of the files that go with its messages */
	BatchQuery *queries;		/* NULL until one is asked for */
	int			nqueries;
} Batch;

/* One message of it, for what the renderer calls back. */
typedef struct BatchPlace
{
	Batch	   *batch;
	int			place;
} BatchPlace;

static MaLinkTracker link_tracker;
static MaVariableMaker variable_maker;

static void tell_begins(const MaRenderRequest *request, void *message);
static void read_views(Batch *batch);
static const MaContactView *view_of(const Batch *batch, int64 contact_id);
static void make_globals(Batch *batch, int place);
static void add_name(LiquidGlobals *globals, const char *name, LiquidValue value);
static LiquidValue object_value(Datum jsonb);
static LiquidValue lazy_value(void *argument, const LiquidName *name);
static LiquidValue variable_value(void *argument, const LiquidName *name);
static LiquidValue query_value(void *argument, const LiquidName *name);
static void find_queries(Batch *batch);
static bool shares(const Batch *batch, const BatchQuery *query, int place);
static void run_query(Batch *batch, BatchQuery *query, int place);
static bool names_query(const MaVersion *version, const LiquidName *name);
static bool liquid_names(const MaLiquid *liquid, const LiquidName *name);
static char *track(void *argument, const char *url);
static char *track_link(void *argument, char *url);
static char *coupon(void *argument, const char *pool);
static void note_missing(void *argument, const LiquidRender *render, const char *path);
static char *check_link(void *argument, char *url);
static void add_problem(Batch *batch, int place, const char *part, char *text);
static void check_rendered(Batch *batch, int place);
static MaLiquid *snippet(void *argument, const char *name, int length, MaEscape escape);
static void render_guarded(Batch *batch, int place, MaRendered *rendered);
static void render_parts(Batch *batch, int place, MaRendered *rendered);
static char *render_part(Batch *batch, int place, const MaLiquid *liquid, const MaLiquid *layout,
						 MaRendered *rendered);

MA_FUNCTION(ma_preview_message);

void
ma_register_link_tracker(MaLinkTracker tracker)
{
	link_tracker = tracker;
}

void
ma_register_variables(MaVariableMaker maker)
{
	variable_maker = maker;
}

MaRenderVariable *
ma_render_variables(int64 contact_id, const MaTemplate *template, int *n)
{
	*n = 0;
	return variable_maker ? variable_maker(contact_id, template, n) : NULL;
}

const char *
ma_render_variable(MaRenderVariable *variable)
{
	if (variable->value == NULL)
	{
		MemoryContext before = MemoryContextSwitchTo(GetMemoryChunkContext((void *) variable->of));

		variable->value = variable->make(variable->of);
		MemoryContextSwitchTo(before);
	}
	return variable->value;
}

void
ma_render_messages(const MaRenderRequest *requests, int n, MaRendered *rendered)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(context, "marketing_automation messages",
											   ALLOCSET_DEFAULT_SIZES);
	Batch		batch = {work, requests, n, .rendered = rendered, .results = context};

	memset(rendered, 0, sizeof(MaRendered) * n);
	MemoryContextSwitchTo(work);
	batch.globals = palloc0_array(LiquidGlobals, Max(n, 1));
	batch.versions = palloc0_array(MaVersion *, Max(n, 1));
	read_views(&batch);
	for (int i = 0; i < n; i++)
		make_globals(&batch, i);
	MemoryContextSwitchTo(context);
	for (int i = 0; i < n; i++)
	{
		tell_begins(&requests[i], requests[i].message);
		render_guarded(&batch, i, &rendered[i]);
		if (requests[i].check)
			check_rendered(&batch, i);
	}
	MemoryContextDelete(work);
}

static void
tell_begins(const MaRenderRequest *request, void *message)
{
	if (request->begins != NULL)
		request->begins(message);
}

/* The contacts of the batch, each once. */
static void
read_views(Batch *batch)
{
	int64	   *ids = palloc_array(int64, Max(batch->n, 1));
	int			n = 0;

	for (int i = 0; i < batch->n; i++)
		ids[i] = batch->requests[i].contact_id;
	qsort(ids, batch->n, sizeof(int64), ma_compare_int64);
	for (int i = 0; i < batch->n; i++)
		if (i == 0 || ids[i] != ids[n - 1])
			ids[n++] = ids[i];
	batch->views = ma_contact_views(ids, n);
	batch->nviews = n;
}

static const MaContactView *
view_of(const Batch *batch, int64 contact_id)
{
	int			low = 0;
	int			high = batch->nviews;

	while (high - low > 1)
	{
		int			middle = (low + high) / 2;

		if (batch->views[middle].contact_id <= contact_id)
			low = middle;
		else
			high = middle;
	}
	return &batch->views[low];
}

/* Variables and version of one message. */
static void
make_globals(Batch *batch, int place)
{
	const MaRenderRequest *request = &batch->requests[place];
	const MaContactView *view = view_of(batch, request->contact_id);
	LiquidGlobals *globals = &batch->globals[place];
	BatchPlace *self = palloc_object(BatchPlace);
	LiquidValue data = object_value(request->data);

	self->batch = batch;
	self->place = place;
	globals->names = palloc_array(LiquidLocal, request->nvariables + 3);
	add_name(globals, "contact", view->value);
	/* Without a journey it is what data says. */
	if (request->entry != 0)
		add_name(globals, "entry", object_value(request->entry));
	add_name(globals, "data", data);
	/* A signature costs more than to show it, and most templates show few: lazy_value(). */
	for (int i = 0; i < request->nvariables; i++)
		add_name(globals, request->variables[i].name, (LiquidValue) {LIQUID_UNSET});
	if (data.kind == LIQUID_OBJECT)
	{
		globals->objects = palloc_object(JsonbContainer *);
		globals->objects[0] = data.u.json;
		globals->nobjects = 1;
	}
	globals->lazy = lazy_value;
	globals->argument = self;
	globals->snippet = snippet;
	globals->track = track;
	globals->coupon = coupon;
	if (request->check)
		globals->missing = note_missing;
	batch->versions[place] = ma_version_find(request->template_id, view->locale, request->version);
	if (batch->versions[place] != NULL)
	{
		globals->strict = batch->versions[place]->strict;
		globals->locale = batch->versions[place]->locale;
	}
}

static void
add_name(LiquidGlobals *globals, const char *name, LiquidValue value)
{
	globals->names[globals->nnames].name = ma_liquid_name(name, strlen(name));
	globals->names[globals->nnames++].value = value;
}

static LiquidValue
object_value(Datum jsonb)
{
	LiquidValue value = {LIQUID_NIL};

	if (DatumGetPointer(jsonb) == NULL || !JB_ROOT_IS_OBJECT(DatumGetJsonbP(jsonb)))
		return value;
	value.kind = LIQUID_OBJECT;
	value.u.json = &DatumGetJsonbP(jsonb)->root;
	return value;
}

/* ---- what is made when a template asks for it ---- */

static LiquidValue
lazy_value(void *argument, const LiquidName *name)
{
	LiquidValue value = variable_value(argument, name);

	return value.kind != LIQUID_UNSET ? value : query_value(argument, name);
}

static LiquidValue
variable_value(void *argument, const LiquidName *name)
{
	BatchPlace *self = argument;
	const MaRenderRequest *request = &self->batch->requests[self->place];
	LiquidValue value = {LIQUID_UNSET};

	for (int i = 0; i < request->nvariables; i++)
		if (strlen(request->variables[i].name) == (size_t) name->length &&
			memcmp(request->variables[i].name, name->text, name->length) == 0)
		{
			const char *text = ma_render_variable(&request->variables[i]);

			return ma_liquid_string(text, strlen(text));
		}
	return value;
}

/* A first name that is nothing else: the rows of a query, if there is one. */
static LiquidValue
query_value(void *argument, const LiquidName *name)
{
	BatchPlace *self = argument;
	Batch	   *batch = self->batch;
	LiquidValue value = {LIQUID_UNSET};

	find_queries(batch);
	for (int i = 0; i < batch->nqueries; i++)
	{
		BatchQuery *query = &batch->queries[i];

		if (query->name.length != name->length ||
			memcmp(query->name.text, name->text, name->length) != 0)
			continue;
		if (query->rows[self->place] == 0 && query->errors[self->place] == NULL)
			run_query(batch, query, self->place);
		if (query->errors[self->place] != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_MA_RENDER_FAILED),
					 errmsg("%s", query->errors[self->place])));
		value.kind = LIQUID_JSON_ARRAY;
		value.u.json = &DatumGetJsonbP(query->rows[self->place])->root;
		break;
	}
	return value;
}

static void
find_queries(Batch *batch)
{
	MemoryContext before;
	List	   *list;

	if (batch->queries != NULL)
		return;
	before = MemoryContextSwitchTo(batch->context);
	list = ma_queries();
	batch->queries = palloc0_array(BatchQuery, list_length(list) + 1);
	for (int i = 0; i < list_length(list); i++)
	{
		BatchQuery *query = &batch->queries[i];

		query->query = list_nth(list, i);
		query->name = ma_liquid_name(query->query->name, strlen(query->query->name));
		query->rows = palloc0_array(Datum, batch->n);
		query->errors = palloc0_array(char *, batch->n);
		query->params = palloc_array(MaLiquid *, Max(query->query->nparams, 1));
		for (int j = 0; j < query->query->nparams; j++)
		{
			char	   *source = psprintf("{{%s}}", query->query->params[j]);

			query->params[j] = ma_liquid_compile(source, strlen(source), MA_ESCAPE_NONE,
												 psprintf("param of query \"%s\"",
															query->query->name));
		}
	}
	batch->nqueries = list_length(list);
	MemoryContextSwitchTo(before);
}

/* True if the query is to run for the message together with others. */
static bool
shares(const Batch *batch, const BatchQuery *query, int place)
{
	return !batch->requests[place].alone && query->rows[place] == 0 &&
		query->errors[place] == NULL && names_query(batch->versions[place], &query->name);
}

/* Runs the query for this message and all others of the batch whose templates name it. */
static void
run_query(Batch *batch, BatchQuery *query, int place)
{
	MemoryContext before = MemoryContextSwitchTo(batch->context);
	int			nparams = query->query->nparams;
	int		   *which = palloc_array(int, batch->n);
	int			n = 0;
	char	  **params;
	Datum	   *rows;
	char	  **errors;

	for (int i = 0; i < batch->n; i++)
		if (i == place || (!batch->requests[place].alone && shares(batch, query, i)))
			which[n++] = i;
	if (n > 1)
		tell_begins(&batch->requests[place], NULL);
	params = palloc0_array(char *, n * nparams + 1);
	rows = palloc0_array(Datum, n);
	errors = palloc0_array(char *, n);
	for (int i = 0; i < n; i++)
	{
		LiquidGlobals globals = batch->globals[which[i]];

		/* A param is a path in the message's own data, never another query. */
		globals.lazy = variable_value;
		for (int j = 0; j < nparams; j++)
		{
			char	   *reason;
			int			length;
			char	   *value = ma_liquid_run(query->params[j], &globals, session_timezone, &length,
											  &reason);

			params[i * nparams + j] = value != NULL && length > 0 ? value : NULL;
		}
	}
	ma_query_run(query->query, params, n, rows, errors);
	for (int i = 0; i < n; i++)
	{
		query->rows[which[i]] = rows[i];
		query->errors[which[i]] = errors[i];
	}
	if (n > 1)
		tell_begins(&batch->requests[place], batch->requests[place].message);
	MemoryContextSwitchTo(before);
}

static bool
names_query(const MaVersion *version, const LiquidName *name)
{
	return version != NULL &&
		   (liquid_names(version->subject, name) || liquid_names(version->html, name) ||
			liquid_names(version->text, name) || liquid_names(version->preheader, name));
}

static bool
liquid_names(const MaLiquid *liquid, const LiquidName *name)
{
	ListCell   *cell;

	if (liquid == NULL)
		return false;
	foreach(cell, liquid->roots)
	{
		const LiquidName *root = lfirst(cell);

		if (root->length == name->length && memcmp(root->text, name->text, name->length) == 0)
			return true;
	}
	return false;
}

static char *
track(void *argument, const char *url)
{
	char	   *link = track_link(argument, unconstify(char *, url));

	return link != NULL ? link : pstrdup(url);
}

/* Only what leads into the web; the tracker knows which links are our own. */
static char *
track_link(void *argument, char *url)
{
	BatchPlace *self = argument;

	if (link_tracker == NULL ||
		(pg_strncasecmp(url, "http://", 7) != 0 && pg_strncasecmp(url, "https://", 8) != 0))
		return NULL;
	return link_tracker(&self->batch->requests[self->place], url,
						self->batch->versions[self->place]->tags);
}

/* A code of the pool; who only looks gets none. */
static char *
coupon(void *argument, const char *pool)
{
	BatchPlace *self = argument;
	const MaRenderRequest *request = &self->batch->requests[self->place];
	MemoryContext context = CurrentMemoryContext;
	char	   *code;

	if (request->message_id == 0)
		return psprintf("(code of %s)", pool);
	code = ma_coupon_claim(request->contact_id, request->message_id, pool);
	MemoryContextSwitchTo(context);
	if (code == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_NO_COUPON),
				 errmsg("coupon pool \"%s\" has no code left", pool),
				 errhint("Add some with marketing.add_coupons().")));
	return pstrdup(code);
}

static MaLiquid *
snippet(void *argument, const char *name, int length, MaEscape escape)
{
	MemoryContext context = CurrentMemoryContext;
	MaLiquid   *liquid = ma_snippet_find(name, length, escape);

	MemoryContextSwitchTo(context);
	return liquid;
}

/* ---- what is wrong with a message ---- */

static void
note_missing(void *argument, const LiquidRender *render, const char *path)
{
	BatchPlace *self = argument;

	add_problem(self->batch, self->place, self->batch->part, psprintf("%s has no value", path));
}

/* Each problem of a part once. */
static void
add_problem(Batch *batch, int place, const char *part, char *text)
{
	MaRendered *rendered = &batch->rendered[place];
	MemoryContext before;
	MaTextFault  *problem;
	ListCell   *cell;

	foreach(cell, rendered->problems)
	{
		problem = lfirst(cell);
		if (strcmp(problem->text, text) == 0 && problem->part == part)
			return;
	}
	before = MemoryContextSwitchTo(batch->results);
	problem = palloc_object(MaTextFault);
	problem->part = part;
	problem->text = pstrdup(text);
	rendered->problems = lappend(rendered->problems, problem);
	MemoryContextSwitchTo(before);
}

static char *
check_link(void *argument, char *url)
{
	static const char *const known[] = {"http://", "https://", "mailto:", "tel:", "sms:", "#"};
	BatchPlace *self = argument;

	for (int i = 0; i < lengthof(known); i++)
		if (pg_strncasecmp(url, known[i], strlen(known[i])) == 0)
			return NULL;
	add_problem(self->batch, self->place, "html", *url == '\0' ? "a link has no address" :
				psprintf("a link leads to \"%s\"", url));
	return NULL;
}

static void
check_rendered(Batch *batch, int place)
{
	MaRendered *rendered = &batch->rendered[place];
	BatchPlace	self = {batch, place};
	const MaVersion *version = batch->versions[place];

	if (rendered->error != NULL)
		add_problem(batch, place, NULL, rendered->error);
	if (rendered->abort_reason != NULL)
		add_problem(batch, place, NULL, psprintf("gives up: %s", rendered->abort_reason));
	if (rendered->html != NULL)
		(void) ma_html_links(rendered->html, check_link, &self);
	if (rendered->subject != NULL && strspn(rendered->subject, " ") == strlen(rendered->subject))
		add_problem(batch, place, "subject", "it is empty");
	if (rendered->text != NULL && version != NULL && strcmp(version->channel, "sms") == 0)
	{
		MaSms		sms;

		ma_sms_measure(pg_server_to_any(rendered->text, strlen(rendered->text), PG_UTF8), &sms);
		if (sms.nparts != 1)
			add_problem(batch, place, "text", psprintf("it goes as %d SMS", sms.nparts));
	}
}

/* ---- one message ---- */

/* True for errors that are about the template or its data. */
static bool
is_message_fault(int sqlstate)
{
	int			category = ERRCODE_TO_CATEGORY(sqlstate);

	return category == ERRCODE_TO_CATEGORY(ERRCODE_MA_RENDER_FAILED) ||
		category == ERRCODE_DATA_EXCEPTION || category == ERRCODE_PROGRAM_LIMIT_EXCEEDED;
}

static void
render_guarded(Batch *batch, int place, MaRendered *rendered)
{
	MemoryContext context = CurrentMemoryContext;

	if (batch->versions[place] == NULL)
	{
		rendered->error = psprintf("template %d has no version for this message",
								   batch->requests[place].template_id);
		return;
	}
	rendered->version = batch->versions[place]->version;
	PG_TRY();
	{
		render_parts(batch, place, rendered);
	}
	PG_CATCH();
	{
		ErrorData  *fault;

		MemoryContextSwitchTo(context);
		fault = CopyErrorData();
		if (!is_message_fault(fault->sqlerrcode))
			PG_RE_THROW();
		FlushErrorState();
		rendered->waits = fault->sqlerrcode == ERRCODE_MA_NO_COUPON;
		rendered->error = fault->detail ? psprintf("%s (%s)", fault->message, fault->detail) :
			pstrdup(fault->message);
		FreeErrorData(fault);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	if (rendered->error != NULL || rendered->abort_reason != NULL)
	{
		rendered->subject = rendered->html = rendered->text = rendered->preheader = NULL;
		rendered->nattachments = 0;
	}
}

static void
render_parts(Batch *batch, int place, MaRendered *rendered)
{
	const MaVersion *version = batch->versions[place];

	batch->part = "subject";
	rendered->subject = render_part(batch, place, version->subject, NULL, rendered);
	batch->part = "html";
	rendered->html = render_part(batch, place, version->html, version->layout_html, rendered);
	batch->part = "text";
	rendered->text = render_part(batch, place, version->text, version->layout_text, rendered);
	batch->part = "preheader";
	rendered->preheader = render_part(batch, place, version->preheader, NULL, rendered);
	if (rendered->abort_reason != NULL)
		return;
	if (rendered->html != NULL && link_tracker != NULL)
	{
		BatchPlace	self = {batch, place};

		rendered->html = ma_html_links(rendered->html, track_link, &self);
	}
	if (version->nattachments > 0 || (rendered->html != NULL && strstr(rendered->html, "cid:")))
	{
		BatchPlace	self = {batch, place};

		rendered->later = batch->octets > MOST_OCTETS;
		if (rendered->later)
			return;
		rendered->attachments = ma_attachments_read(version, rendered->html, query_value, &self,
													&rendered->nattachments);
		for (int i = 0; i < rendered->nattachments; i++)
			batch->octets += rendered->attachments[i].length;
	}
	if (rendered->text == NULL && rendered->html != NULL)
		rendered->text = ma_html_to_text(rendered->html);
	/* A header has one line. */
	for (char *c = rendered->subject; c != NULL && *c; c++)
		if ((unsigned char) *c < ' ' || *c == 0x7F)
			*c = ' ';
}

/* A part within its layout, in the caller's context; what was needed on the way is freed. */
static char *
render_part(Batch *batch, int place, const MaLiquid *liquid, const MaLiquid *layout,
			MaRendered *rendered)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext work;
	LiquidGlobals globals = batch->globals[place];
	const MaContactView *view = view_of(batch, batch->requests[place].contact_id);
	struct pg_tz *zone = view->time_zone ? pg_tzset(view->time_zone) : NULL;
	char	   *text;
	int			length;

	if (liquid == NULL || rendered->abort_reason != NULL)
		return NULL;
	work = AllocSetContextCreate(context, "marketing_automation rendering", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(work);
	text = ma_liquid_run(liquid, &globals, zone ? zone : session_timezone, &length,
						 &rendered->abort_reason);
	if (text != NULL && layout != NULL)
	{
		LiquidLocal *names = palloc_array(LiquidLocal, globals.nnames + 1);
		LiquidValue content = ma_liquid_string(text, length);

		content.safe = (layout->escape == MA_ESCAPE_HTML);
		memcpy(names + 1, globals.names, sizeof(LiquidLocal) * globals.nnames);
		globals.names = names;
		globals.nnames++;
		names[0].name = ma_liquid_name("content", 7);
		names[0].value = content;
		text = ma_liquid_run(layout, &globals, zone ? zone : session_timezone, &length,
							 &rendered->abort_reason);
	}
	MemoryContextSwitchTo(context);
	if (text != NULL)
		text = pnstrdup(text, length);
	if (rendered->abort_reason != NULL)
		rendered->abort_reason = pstrdup(rendered->abort_reason);
	MemoryContextDelete(work);
	return text;
}

/* marketing.preview_message(contact, template, data) */
Datum
ma_preview_message(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	TupleDesc	desc;
	MaCall		call;
	MaRenderRequest request = {0};
	MaTemplate *template;
	MaRendered	rendered;
	Datum		values[3];
	bool		nulls[3];
	char	   *name = ma_content_name(fcinfo, 1, "template");

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "cannot happen: preview_message() returns a row");
	ma_call_begin(&call);
	request.contact_id = ma_contact_argument(fcinfo, false);
	template = ma_template_required(name);
	request.template_id = template->id;
	request.variables = ma_render_variables(request.contact_id, template, &request.nvariables);
	if (!PG_ARGISNULL(2))
	{
		request.data = PG_GETARG_DATUM(2);
		if (!JB_ROOT_IS_OBJECT(DatumGetJsonbP(request.data)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("data must be an object")));
	}
	MemoryContextSwitchTo(context);
	ma_render_messages(&request, 1, &rendered);
	ma_call_end(&call);
	MemoryContextSwitchTo(context);
	if (rendered.error != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_RENDER_FAILED),
				 errmsg("%s", rendered.error)));
	if (rendered.abort_reason != NULL)
		ereport(NOTICE,
				(errmsg("the template gave up: %s", rendered.abort_reason)));
	for (int i = 0; i < 3; i++)
	{
		char	   *part = i == 0 ? rendered.subject : i == 1 ? rendered.html : rendered.text;

		nulls[i] = (part == NULL);
		values[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(part);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
