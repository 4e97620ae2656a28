-- Takes the guards away; the tables themselves go with the migration's other operations.
drop trigger if exists memops_glass_review_guard on public.memops_console_glassreview;
drop trigger if exists memops_approval_guard on public.memops_console_approval;
drop trigger if exists memops_run_guard on public.memops_console_run;
drop function if exists public.memops_glass_review_guard();
drop function if exists public.memops_approval_guard();
drop function if exists public.memops_run_guard();
drop function if exists public.memops_valid_approvals(bigint);
alter table public.memops_console_glassreview drop constraint if exists glass_review_of_what_was_asked;
alter table public.memops_console_approval drop constraint if exists approval_of_what_was_asked;
alter table public.memops_console_run drop constraint if exists run_approved_as, drop constraint if exists run_asked_by;

-- States that nobody knows without approvals. What was asked for and not started has changed nothing.
update public.memops_console_run
set state = 'cancelled', outcome = 'nothing', ended_at = coalesce(ended_at, clock_timestamp()),
    error = case error when '' then 'Approvals were taken out of the console before it was started.' else error end
where state in ('awaiting', 'rejected', 'withdrawn', 'expired');
