/*
 * sales.c
 *		Steps for who works on leads: points, the stage, tasks, and mails to the contact's
 *		owner.
 *
 * Like all effects they are in the transaction that moves the run on.  A mail to the
 * owner is nothing that happens to the contact: it asks for no consent and is not followed;
 * but it is a message, and the run waits for what becomes of it.
 */
#include "base/base.h"

#include "content/content.h"
#include "delivery/delivery.h"
#include "journeys/engine.h"
#include "scoring/scoring.h"

static void add_tasks(MaTurnBatch *batch, MaJourneyRun **runs, const int64 *contacts, int n);

void
ma_step_sales(MaTurnBatch *batch, MaJourneyRun **runs, int n)
{
	MaStep	   *step = runs[0]->step;
	int64	   *contacts = palloc_array(int64, n);
	char	   *detail = step->text;

	for (int i = 0; i < n; i++)
		contacts[i] = runs[i]->person->contact_id;
	if (step->kind == MA_STEP_SCORE)
		detail = psprintf("%s %+g", step->text, step->points);
	if (batch->simulation != NULL)
		ma_simulate_effect(batch, runs, n);
	else if (step->kind == MA_STEP_SCORE)
		ma_points_add(step->text, contacts, n, step->points,
					  step->reason ? step->reason : runs[0]->version->journey);
	else if (step->kind == MA_STEP_STAGE)
		(void) ma_stage_move(step->text, contacts, n, runs[0]->version->journey);
	else
	{
		add_tasks(batch, runs, contacts, n);
		return;
	}
	for (int i = 0; i < n; i++)
	{
		ma_run_log(batch, runs[i], runs[i]->due_at, step->kind == MA_STEP_SCORE ? "points" :
				   step->kind == MA_STEP_STAGE ? "stage" : "task", detail);
		ma_run_arrive(batch, runs[i], step->next, runs[i]->due_at);
	}
}

/* A task for each, its title written for the contact; whose it is, is its owner's. */
static void
add_tasks(MaTurnBatch *batch, MaJourneyRun **runs, const int64 *contacts, int n)
{
	MaStep	   *step = runs[0]->step;
	MaTaskRequest *requests = palloc0_array(MaTaskRequest, n);
	int32	   *owners = palloc0_array(int32, n);
	int64	   *ids = palloc_array(int64, n);
	MaLiquid   *title = ma_liquid_compile(step->text, (int) strlen(step->text), MA_ESCAPE_NONE,
										  "title of the task");

	ma_owners_assign(step->assign ? step->assign : "owner", contacts, n, owners);
	for (int i = 0; i < n; i++)
	{
		char	   *reason = NULL;
		char	   *text = ma_liquid_render_contact(title, contacts[i], runs[i]->entry, &reason);

		requests[i].contact_id = contacts[i];
		requests[i].title = text ? text : step->text;
		requests[i].owner_id = owners[i];
		requests[i].due_at = step->due == NULL ? DT_NOEND :
			ma_duration_add(batch->now, step->due, ma_run_zone(runs[i]));
		requests[i].journey = runs[i]->version->journey;
		requests[i].step = step->id;
	}
	ma_tasks_add(requests, n, ids);
	for (int i = 0; i < n; i++)
	{
		ma_run_log(batch, runs[i], runs[i]->due_at, "task",
				   psprintf("#" INT64_FORMAT ": %s", ids[i], requests[i].title));
		ma_run_arrive(batch, runs[i], step->next, runs[i]->due_at);
	}
}

/* Who has no owner with an address takes "otherwise". */
void
ma_step_send_owner(MaTurnBatch *batch, MaJourneyRun **runs, int n)
{
	MaStep	   *step = runs[0]->step;
	MaTemplate *template = ma_template_required(step->text);

	for (int i = 0; i < n; i++)
	{
		MaMessageRequest request = {.template_id = template->id, .step = step->id,
			.not_before = DT_NOBEGIN, .priority = MA_PRIORITY_DEFAULT};
		char	   *address = ma_owner_email(runs[i]->person->contact_id);

		if (address == NULL)
		{
			ma_run_log(batch, runs[i], runs[i]->due_at, "not sent", "no owner with an address");
			ma_run_arrive(batch, runs[i], step->other, runs[i]->due_at);
			continue;
		}
		if (batch->simulation != NULL)
		{
			ma_run_log(batch, runs[i], batch->now, "message",
					   psprintf("%s to %s", step->text, address));
			ma_run_arrive(batch, runs[i], step->next, runs[i]->due_at);
			continue;
		}
		request.contact_id = runs[i]->person->contact_id;
		request.enrollment_id = runs[i]->enrollment_id;
		request.journey = runs[i]->version->journey;
		request.entry = runs[i]->entry;
		request.not_after = ma_send_latest(runs[i]);
		ma_run_sends(batch, runs[i], step->text, ma_message_to(&request, address), address);
	}
}
