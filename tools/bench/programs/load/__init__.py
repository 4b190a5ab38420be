"""The programs of the load: clients that call, share and stream, servers, and a tally.

Every call carries a *ticket*: who calls, on which lane, and the how manieth call of that lane it
is.  A server that has seen a lane takes the next number alone, so a call that is carried out twice
shows; its answer says which server it is and how many calls of the lane it has had, so a call or
an answer that is lost shows.  Only a call that ends with ``ServerDied`` is made again, and then
another server has to answer it.
"""
