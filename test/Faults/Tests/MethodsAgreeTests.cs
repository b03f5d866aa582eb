using OrleansCluster.Faults.Checking;
using OrleansCluster.Faults.Histories;

namespace OrleansCluster.Faults.Tests;

/// <summary>The checker that takes revisions as its witness decides as a search over all orders does, on thousands of small random histories, right and wrong.</summary>
public sealed class MethodsAgreeTests
{
    [Fact]
    public void Both_methods_decide_alike()
    {
        int right = 0, wrong = 0;
        for (var seed = 0; seed < 12_000; seed++)
        {
            var (history, states) = Make(new Random(seed));
            var byWitness = HistoryChecker.Check(history);
            var bySearch = OrderSearch.Explains(history.Operations, states);
            Assert.True(
                bySearch == (byWitness.Violations.Count == 0),
                $"seed {seed}: the search says {bySearch}, the witness says {byWitness}\n{string.Join('\n', history.Operations)}\n{string.Join("; ", states)}");
            if (bySearch)
                right++;
            else
                wrong++;
        }
        // A comparison that hardly ever meets one of the two says nothing.
        Assert.True(right > 1000 && wrong > 1000, $"{right} right, {wrong} wrong");
    }

    /// <summary>
    /// One object, clients that overlap, every operation takes place at a moment inside its interval; then none or some
    /// answers and intervals are falsified.
    /// </summary>
    private static (History History, List<(long Revision, Fields? Fields, string Uid)> States) Make(Random random)
    {
        var script = new Script();
        var operations = new List<Operation>();
        var states = new List<(long Revision, Fields? Fields, string Uid)>();
        ObjectVersion? current = null;
        var versions = new List<ObjectVersion>();
        var creations = 0;
        var moment = 0L;
        var count = random.Next(3, 9);
        for (var i = 0; i < count; i++)
        {
            moment += 10;
            var operation = new Operation
            {
                Id = 100 + i,
                Client = i,
                Verb = Verb.Get,
                Resource = Script.Maps,
                Key = "n/a",
                Outcome = Outcome.Ok,
                Invoked = moment - random.Next(30),
                Completed = moment + 1 + random.Next(30),
            };
            var lost = random.Next(5) == 0;
            operation = (random.Next(10), current) switch
            {
                ( < 3, null) => Create(operation),
                ( < 3, { } now) => Put(operation, now, random.Next(2) == 0),
                (3, { } now) => Delete(operation, now, lost),
                (4, { }) => operation with { Verb = Verb.Create, Change = Change.Create(("v", $"r{i}")), Outcome = Outcome.Failed, Code = 409, Reason = "AlreadyExists" },
                (4, null) => operation with { Verb = Verb.Update, Change = Change.Replace(("v", $"r{i}")), Outcome = Outcome.Failed, Code = 404, Reason = "NotFound" },
                (5, { } now) when versions.Count > 1 && now != versions[0] => operation with
                {
                    Verb = Verb.Update,
                    Change = Change.Replace(("v", $"r{i}")),
                    Outcome = Outcome.Failed,
                    Code = 409,
                    Reason = "Conflict",
                    ExpectedRevision = versions[0].Revision,
                },
                _ => operation with { Answer = current },
            };
            if (operation.IsWrite && operation.Outcome == Outcome.Ok && lost)
                operation = operation with { Outcome = Outcome.Unknown, Answer = null };
            operations.Add(operation);
        }
        for (var lies = random.Next(5); lies > 0; lies--)
            Falsify(operations, versions, random);
        foreach (var operation in operations)
            script.Add(operation);
        // The log is known, but too late to say anything about time.
        foreach (var (revision, fields, _) in states)
        {
            var version = versions.Find(v => v.Revision == revision) ?? versions.Last(v => v.Revision < revision) with { Revision = revision };
            var first = versions.Find(v => v.Uid == version.Uid)!.Revision == revision;
            script.Event(1_000_000, fields is null ? WatchEventType.Deleted : first ? WatchEventType.Added : WatchEventType.Modified, version);
        }
        return (script.History, states);

        Operation Create(Operation operation)
        {
            var change = Change.Create(("v", $"c{operation.Id}"));
            creations++;
            return operation with { Verb = Verb.Create, Change = change, Answer = Commit(change) };
        }

        Operation Put(Operation operation, ObjectVersion now, bool conditional)
        {
            var change = random.Next(2) == 0 ? Change.Replace(("v", $"p{operation.Id}")) : Change.Merge(($"m{random.Next(2)}", $"p{operation.Id}"));
            return operation with
            {
                Verb = change.Kind == ChangeKind.Merge ? Verb.Patch : Verb.Update,
                Change = change,
                ExpectedRevision = conditional ? now.Revision : null,
                Answer = Commit(change),
            };
        }

        Operation Delete(Operation operation, ObjectVersion now, bool unknown)
        {
            states.Add((states.Count + 1, null, now.Uid));
            current = null;
            return operation with { Verb = Verb.Delete, Change = Change.Delete, DeletedUid = unknown ? null : now.Uid };
        }

        ObjectVersion Commit(Change change)
        {
            Assert.True(change.TryApply(current?.Fields, out var after));
            current = new ObjectVersion("n/a", states.Count + 1, $"u{creations}", after!, $"d{states.Count + 1}");
            states.Add((current.Revision, after, current.Uid));
            versions.Add(current);
            return current;
        }
    }

    private static void Falsify(List<Operation> operations, List<ObjectVersion> versions, Random random)
    {
        var at = random.Next(operations.Count);
        var victim = operations[at];
        operations[at] = random.Next(3) switch
        {
            0 when victim.Verb == Verb.Get && versions.Count > 0 => victim with { Answer = random.Next(4) == 0 ? null : versions[random.Next(versions.Count)] },
            1 => victim with { Completed = victim.Invoked + random.Next(1, 5) },
            _ => victim with { Invoked = victim.Completed - random.Next(1, 10) },
        };
    }
}
