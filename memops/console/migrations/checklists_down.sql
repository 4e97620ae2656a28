-- Takes the guards away; the tables themselves go with the migration's other operations.
drop trigger if exists memops_run_checklist on public.memops_console_run;
drop trigger if exists memops_checklist_rows on public.memops_console_checklisttemplate;
drop trigger if exists memops_checklist_truncate on public.memops_console_checklisttemplate;
drop trigger if exists memops_checklist_rows on public.memops_console_checklistitem;
drop trigger if exists memops_checklist_truncate on public.memops_console_checklistitem;
drop trigger if exists memops_signoff_rows on public.memops_console_signoff;
drop trigger if exists memops_signoff_truncate on public.memops_console_signoff;
drop trigger if exists memops_signoff_reopens on public.memops_console_signoff;
drop trigger if exists memops_closing_rows on public.memops_console_runclosing;
drop trigger if exists memops_closing_truncate on public.memops_console_runclosing;
drop function if exists public.memops_closing_guard();
drop function if exists public.memops_signoff_reopens_the_run();
drop function if exists public.memops_signoff_guard();
drop function if exists public.memops_is_person(bigint, text, text);
drop function if exists public.memops_checklist_guard();
drop function if exists public.memops_run_checklist();
drop function if exists public.memops_run_is_closed(bigint);
drop function if exists public.memops_open_items(bigint);
