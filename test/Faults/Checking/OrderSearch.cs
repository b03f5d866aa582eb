using OrleansCluster.Faults.Histories;

namespace OrleansCluster.Faults.Checking;

/// <summary>
/// The general method, after Wing and Gong: tries all orders of one object's operations that real time allows, until one explains every answer and
/// leads through the known states. Exponential, so for histories of a dozen operations; it shows that <see cref="Linearizability"/>, which needs no
/// search, decides alike.
/// </summary>
internal sealed class OrderSearch
{
    private readonly List<Operation> _operations;
    private readonly List<(long Revision, Fields? Fields, string Uid)> _states;
    private readonly HashSet<(int Done, int State)> _visited = [];

    private OrderSearch(List<Operation> operations, List<(long Revision, Fields? Fields, string Uid)> states)
    {
        _operations = operations;
        _states = states;
    }

    /// <param name="operations">All operations on one object, at most 30.</param>
    /// <param name="states">What became of it: revision, fields (null: removed) and uid after every change, in order.</param>
    public static bool Explains(IEnumerable<Operation> operations, IEnumerable<(long Revision, Fields? Fields, string Uid)> states)
    {
        var search = new OrderSearch([.. operations], [(0, null, ""), .. states]);
        return search.Try(0, 0);
    }

    private bool Try(int done, int state)
    {
        if (!_visited.Add((done, state)))
            return false;
        // Nobody may come before one that had ended when it began. What has no known outcome never ends.
        var earliestEnd = long.MaxValue;
        var open = false;
        for (var i = 0; i < _operations.Count; i++)
        {
            if ((done & (1 << i)) != 0 || _operations[i].Outcome == Outcome.Unknown)
                continue;
            open = true;
            earliestEnd = Math.Min(earliestEnd, _operations[i].Completed);
        }
        if (!open && state == _states.Count - 1)
            return true;
        for (var i = 0; i < _operations.Count; i++)
        {
            if ((done & (1 << i)) == 0 && _operations[i].Invoked <= earliestEnd && Next(_operations[i], state) is { } next && Try(done | (1 << i), next))
                return true;
        }
        return false;
    }

    /// <summary>The state after an operation took place in a state, or null if it cannot have.</summary>
    private int? Next(Operation operation, int state)
    {
        var (revision, fields, _) = _states[state];
        if (operation.Verb == Verb.Get)
            return (operation.Answer is { } seen ? fields is not null && seen.Revision == revision : fields is null) ? state : null;
        if (operation.Outcome == Outcome.Failed)
        {
            return operation.Reason switch
            {
                "NotFound" => fields is null,
                "AlreadyExists" => fields is not null,
                "Conflict" => fields is null || revision != operation.ExpectedRevision,
                _ => true,
            } ? state : null;
        }
        if (state + 1 >= _states.Count || !operation.Change!.TryApply(fields, out var after))
            return null;
        var (nextRevision, nextFields, uid) = _states[state + 1];
        var fits = Equals(after, nextFields)
            && (operation.Answer is null || operation.Answer.Revision == nextRevision)
            && (operation.DeletedUid is null || operation.DeletedUid == uid)
            && (operation.ExpectedRevision is null || operation.ExpectedRevision == revision);
        return fits ? state + 1 : null;
    }
}
