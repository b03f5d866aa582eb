namespace OrleansCluster.ControlPlane.Objects;

/// <summary>
/// The last answers of one object's grain, by request, for calls whose answer was lost on the way: a small ring, as a repetition comes within seconds.
/// Nothing is allocated before the first answer.
/// </summary>
internal struct AnsweredRequests
{
    /// <summary>Answers kept: each holds a copy of the object, and a forgotten answer costs a 504 at worst, never a second write.</summary>
    private const int Capacity = 2;

    private (Guid Request, ObjectReply Reply)[]? _ring;
    private int _next;

    /// <summary>Remembers an answer.</summary>
    public void Add(Guid request, ObjectReply reply)
    {
        if (request == Guid.Empty)
            return;
        _ring ??= new (Guid, ObjectReply)[Capacity];
        _ring[_next++ % Capacity] = (request, reply);
    }

    /// <summary>The answer to a request, or null.</summary>
    public readonly ObjectReply? Find(Guid request)
    {
        foreach (var (known, reply) in _ring ?? [])
        {
            if (known == request && request != Guid.Empty)
                return reply;
        }
        return null;
    }
}
